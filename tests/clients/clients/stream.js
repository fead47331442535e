// One stream by a JavaScript library: stream.js LIBRARY URL. Prints `asked`, `event` at the first event, `connected` for each
// confirmation, and the text of each message that has one. The library comes back by itself.

const [, , library, url] = process.argv;
const say = (text) => process.stdout.write(`${text}\n`);

let first = true;
function take(data) {
  if (first) say("event");
  first = false;
  const message = data && JSON.parse(data);
  if (message?.type === "connected") say("connected");
  if (message?.type === "received" && message.message.text) say(message.message.text);
}

function listen(source) {
  source.onmessage = (event) => take(event.data);
  source.onerror = (event) => process.stderr.write(`${library}: ${event.message ?? event.error ?? "an error"}\n`);
}

if (library === "eventsource") {
  const { EventSource } = await import("eventsource");
  say("asked");
  listen(new EventSource(url));
} else if (library === "event-source-polyfill") {
  const { default: polyfill } = await import("event-source-polyfill");
  say("asked");
  listen(new polyfill.EventSourcePolyfill(url, { heartbeatTimeout: 20_000 }));
} else {
  // Written for a page.
  globalThis.window = globalThis;
  globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
  const { fetchEventSource } = await import("@microsoft/fetch-event-source");
  const isMessage = ({ event, data }) => (event === "" || event === "message" ? take(data) : undefined);
  say("asked");
  await fetchEventSource(url, { onmessage: isMessage, onclose: () => say("closed") });
}
