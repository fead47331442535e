// A Worker with a socket of its own, over SSE: loaded as a classic script it takes client.js, as a module client.mjs.

const settings = { bridge: "/bridge/", transport: "sse" };

function start(WebSocket) {
  const socket = new WebSocket(`ws://${location.host}/cable`, ["actioncable-v1-json"]);
  socket.onmessage = ({ data }) => postMessage([socket.transport, data, socket.session]);
  socket.onclose = ({ code }) => postMessage(["closed", code]);
  onmessage = () => socket.close();
}

if (new URL(location).searchParams.get("kind") === "module") {
  import("/bridge/-/client.mjs").then((module) => start(module.default(settings)));
} else {
  importScripts("/bridge/-/client.js");
  start(bridgeWebSocket(settings));
}
