// The HTML of the application's pages: one script tag of the bridge before the application's own.
//
// `road` is `none` for a page without the bridge (the browser's own WebSocket, nothing in between),
// `auto` for the bare tag, else the road that the tag forces.

import { randomBytes } from "node:crypto";
import { signedStreamName } from "./rails.js";

const TURBO = ["/pages/turbo.js", "/node_modules/@hotwired/turbo-rails/app/assets/javascripts/turbo.js"];

const scripts = {
  "actioncable-5.2": ["/node_modules/actioncable-5.2/lib/assets/compiled/action_cable.js", "/pages/chat.js"],
  "actioncable-6.1": ["/node_modules/actioncable-6.1/app/assets/javascripts/action_cable.js", "/pages/chat.js"],
  "actioncable-7.2": ["/node_modules/actioncable-7.2/app/assets/javascripts/actioncable.js", "/pages/chat.js"],
  "actioncable-8.1": ["/node_modules/actioncable-8.1/app/assets/javascripts/actioncable.js", "/pages/chat.js"],
  turbo: TURBO,
  "turbo-source": TURBO,
  "turbo-left": TURBO,
  "turbo-module": ["/pages/turbo.js", "/bundles/turbo.js"],
  anycable: ["/pages/anycable.js"],
  graphql: ["/bundles/graphql.js"],
  "own-post": ["/pages/shown.js", "/pages/own-post.js"],
  "own-get": ["/pages/shown.js", "/pages/own-get.js"],
};

/** What `client` may be in a page's query. */
export const clients = Object.keys(scripts);

const modules = new Set(["turbo", "turbo-source", "turbo-left", "turbo-module", "anycable", "graphql", "own-post", "own-get"]);

/** Those that have no need of the bridge's script. */
const alone = new Set(["turbo-source", "turbo-left", "own-post", "own-get"]);

// Built into one file: old browsers have no importmap.
const built = { turbo: ["/pages/polyfills.js", "/pages/turbo.js", "/bundles/turbo.js"], anycable: ["/bundles/anycable.js"] };

const imports = {
  "@anycable/web": "/node_modules/@anycable/web/index.js",
  "@anycable/core": "/node_modules/@anycable/core/index.js",
  nanoevents: "/node_modules/nanoevents/index.js",
};

export function page(parameters) {
  const client = parameters.get("client") ?? "actioncable-8.1";
  if (!(client in scripts)) throw new Error(`no such client: ${client}`);
  const kind = modules.has(client) ? ' type="module"' : "";
  // An old browser, in esbuild's words: the application's scripts are built for it.
  const target = parameters.get("target");
  const sources = target ? (built[client] ?? scripts[client]).map((source) => `${source}?target=${target}`) : scripts[client];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>${client}</title>
<link rel="icon" href="data:,">
${withoutScript(parameters.get("without"))}
${bridgeTag(alone.has(client) ? "none" : (parameters.get("road") ?? "auto"))}
${target ? "" : `<script type="importmap">${JSON.stringify({ imports })}</script>`}
${sources.map((source) => `<script${kind} src="${source}"></script>`).join("\n")}
</head>
<body>
${body(client, parameters.get("room") ?? "lobby")}
</body>
</html>
`;
}

// A browser that lacks this name, as a global and in all that is a global's.
function withoutScript(name) {
  if (!name) return "";
  return `<script>(${remove})(${JSON.stringify(name).replaceAll("<", "")})</script>`;
}

function remove(name) {
  const places = Object.getOwnPropertyNames(self).filter((key) => !["webkitStorageInfo", "frameElement"].includes(key)).map((key) => self[key]);
  for (const place of places.filter((place) => place && /^(function|object)$/.test(typeof place))) {
    if (place.window === place || place === document || place === location) continue;
    for (const at of [place, place.prototype, Object.getPrototypeOf(place)]) {
      try {
        // What is read and not called is as old as its object, but for the body.
        const { get } = (at && Object.getOwnPropertyDescriptor(at, name)) || {};
        if (at && (!get || name === "body")) delete at[name];
      } catch {}
    }
  }
  delete self[name];
}

function bridgeTag(road) {
  if (road === "none") return "";
  const forced = road === "auto" ? "" : ` data-transport="${road}"`;
  return `<script src="/bridge/-/client.js"${forced}></script>`;
}

function body(client, room) {
  if (client === "turbo" || client === "turbo-module") return `${cableSource(room)}\n<ul id="messages"></ul>`;
  if (client === "turbo-source") return `${streamSource(room)}\n<ul id="messages"></ul>`;
  return client === "turbo-left" ? '<p id="left">another page</p><ul id="messages"></ul>' : "";
}

function cableSource(room) {
  return `<turbo-cable-stream-source channel="Turbo::StreamsChannel" signed-stream-name="${signedStreamName(room)}"></turbo-cable-stream-source>`;
}

// What the helper in the README makes.
function streamSource(room) {
  const identifier = JSON.stringify({ channel: "Turbo::StreamsChannel", signed_stream_name: signedStreamName(room) });
  const src = `/bridge/${randomBytes(16).toString("hex")}?${new URLSearchParams({ identifier, raw: "1" })}`;
  return `<turbo-stream-source src="${src.replaceAll("&", "&amp;")}"></turbo-stream-source>`;
}
