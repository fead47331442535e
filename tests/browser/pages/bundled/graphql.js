// An application with Apollo and graphql-ruby's client, subscribed to one field.

import { ApolloClient, InMemoryCache, gql } from "@apollo/client";
import { createConsumer } from "@rails/actioncable";
import ActionCableLink from "graphql-ruby-client/subscriptions/ActionCableLink";

const startedAt = performance.now();
const link = new ActionCableLink({ cable: createConsumer() });
const client = new ApolloClient({ link, cache: new InMemoryCache() });

window.graphql = { results: [], errors: [], firstMessageMs: null };

window.graphql.subscribe = (field) => {
  const query = gql(`subscription { ${field} { text } }`);
  client.subscribe({ query }).subscribe({
    next: ({ data }) => {
      window.graphql.firstMessageMs ??= performance.now() - startedAt;
      window.graphql.results.push(data[field].text);
    },
    error: (error) => window.graphql.errors.push(String(error)),
  });
};
