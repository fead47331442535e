// The HTML of the application's pages: one script tag of the bridge before the application's own.
//
// `road` is `none` for a page without the bridge (the browser's own WebSocket, nothing in between),
// `auto` for the bare tag, else the road that the tag forces.

const scripts = {
  "actioncable-5.2": ["/node_modules/actioncable-5.2/lib/assets/compiled/action_cable.js", "/pages/chat.js"],
  "actioncable-6.1": ["/node_modules/actioncable-6.1/app/assets/javascripts/action_cable.js", "/pages/chat.js"],
  "actioncable-7.2": ["/node_modules/actioncable-7.2/app/assets/javascripts/actioncable.js", "/pages/chat.js"],
  "actioncable-8.1": ["/node_modules/actioncable-8.1/app/assets/javascripts/actioncable.js", "/pages/chat.js"],
  turbo: ["/pages/turbo.js", "/node_modules/@hotwired/turbo-rails/app/assets/javascripts/turbo.js"],
  "turbo-module": ["/pages/turbo.js", "/bundles/turbo.js"],
  anycable: ["/pages/anycable.js"],
  graphql: ["/bundles/graphql.js"],
};

/** What `client` may be in a page's query. */
export const clients = Object.keys(scripts);

const modules = new Set(["turbo", "turbo-module", "anycable", "graphql"]);

const imports = {
  "@anycable/web": "/node_modules/@anycable/web/index.js",
  "@anycable/core": "/node_modules/@anycable/core/index.js",
  nanoevents: "/node_modules/nanoevents/index.js",
};

export function page(parameters) {
  const client = parameters.get("client") ?? "actioncable-8.1";
  if (!(client in scripts)) throw new Error(`no such client: ${client}`);
  const kind = modules.has(client) ? ' type="module"' : "";
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>${client}</title>
<link rel="icon" href="data:,">
${bridgeTag(parameters.get("road") ?? "auto")}
<script type="importmap">${JSON.stringify({ imports })}</script>
${scripts[client].map((source) => `<script${kind} src="${source}"></script>`).join("\n")}
</head>
<body>
${body(client, parameters.get("room") ?? "lobby")}
</body>
</html>
`;
}

function bridgeTag(road) {
  if (road === "none") return "";
  const forced = road === "auto" ? "" : ` data-transport="${road}"`;
  return `<script src="/bridge/-/client.js"${forced}></script>`;
}

function body(client, room) {
  if (!client.startsWith("turbo")) return "";
  return `<turbo-cable-stream-source channel="Turbo::StreamsChannel" signed-stream-name="${room}"></turbo-cable-stream-source>
<ul id="messages"></ul>`;
}
