// A page without client.js: an EventSource, and a POST for what it subscribes and sends. It stands in the README.

const session = `/bridge/${crypto.randomUUID()}`;
const identifier = { channel: "ChatChannel", room: new URLSearchParams(location.search).get("room") };
const events = new EventSource(session);

events.onmessage = ({ data }) => {
  const { type, resumed, message } = JSON.parse(data);
  // A new session knows no channel: the first one, and the one after the bridge was started again.
  if (type === "joined" && !resumed) post({ subscribe: true });
  if (type === "received") show(message);
};

function post(request) {
  return fetch(session, { method: "POST", body: JSON.stringify([{ identifier, ...request }]) });
}

window.say = (text) => post({ send: { action: "speak", text } });
