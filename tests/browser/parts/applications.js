// The applications of the tests, one a client: how each subscribes, what it has shown, who makes it news.

import { until } from "./wait.js";
import { pageAt } from "./world.js";

const GREETED_WITHIN_MS = 15_000;

const chat = {
  subscribe: (tab, room) => tab.run((room) => window.chat.subscribe("chat", room), room),
  shown: (tab) =>
    tab.run(() => [...window.chat.values("chat", "greeting").map(() => "hello"), ...window.chat.values("chat", "text")]),
  ready: (tab) => tab.run(() => window.chat.count("chat", "connected") === 1),
  firstMessageMs: (tab) => tab.run(() => window.chat.firstMessageMs),
  tell: (rails, room, text) => rails.broadcast(room, text),
};

const turbo = {
  // The element of the page subscribes by itself.
  subscribe: async () => {},
  shown: (tab) => tab.run(() => window.turbo.messages()),
  ready: (tab) => tab.run(() => document.querySelector("turbo-cable-stream-source").hasAttribute("connected")),
  firstMessageMs: (tab) => tab.run(() => window.turbo.firstMessageMs),
  tell: (rails, room, text) => rails.broadcastTurbo(room, text),
};

const anycable = {
  subscribe: (tab, room) => tab.run((room) => window.anycable.subscribe(room), room),
  shown: (tab) => tab.run(() => window.anycable.messages.map((message) => message.text ?? "hello")),
  ready: (tab) => tab.run(() => window.anycable.events.some(([event]) => event === "channel connect")),
  firstMessageMs: (tab) => tab.run(() => window.anycable.firstMessageMs),
  tell: (rails, room, text) => rails.broadcast(room, text),
};

// A field of GraphQL has no minus in its name.
const field = (room) => room.replaceAll("-", "_");

const graphql = {
  subscribe: (tab, room) => tab.run((field) => window.graphql.subscribe(field), field(room)),
  shown: (tab) => tab.run(() => [...window.graphql.results, ...window.graphql.errors]),
  ready: (tab) => tab.run(() => window.graphql.results.length > 0),
  firstMessageMs: (tab) => tab.run(() => window.graphql.firstMessageMs),
  tell: (rails, room, text) => rails.broadcastGraphql(field(room), text),
};

export const applications = {
  "actioncable-5.2": chat,
  "actioncable-6.1": chat,
  "actioncable-7.2": chat,
  "actioncable-8.1": chat,
  turbo,
  "turbo-module": turbo,
  anycable,
  graphql,
};

/** Opens the page of this client in the tab, and returns when it shows that the room has greeted it. */
export async function openGreeted({ world, tab, client, road, room }) {
  const application = applications[client];
  await tab.open(pageAt(world.site.url, { client, road, room }));
  await application.subscribe(tab, room);
  await until("the greeting", GREETED_WITHIN_MS, async () => (await application.shown(tab)).length === 1);
}
