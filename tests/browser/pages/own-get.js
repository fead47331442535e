// The same for a page that only listens: the URL subscribes, again too. It stands in the README.

const identifier = { channel: "ChatChannel", room: new URLSearchParams(location.search).get("room") };
const query = new URLSearchParams({ identifier: JSON.stringify(identifier), raw: 1 });
const events = new EventSource(`/bridge/${crypto.randomUUID()}?${query}`);
events.onmessage = ({ data }) => show(JSON.parse(data));
