// The application's own server, as a browser sees it: pages, clients, cable and bridge on one port.
//
// `/cable` goes to Rails and `/bridge/` to the bridge, so that cookies and the origin are the application's.
// Pages are made of their query: `client` and `road` choose the scripts, `user` is the cookie that they set.
// Bodies are passed on piece by piece; the network that spoils them is network.js.

import { readFile } from "node:fs/promises";
import { createServer, request } from "node:http";
import { extname, join, normalize } from "node:path";
import { bundle, translated } from "./parts/bundles.js";
import { here } from "./parts/places.js";
import { page } from "./parts/page.js";

const TYPES = { ".js": "text/javascript", ".html": "text/html", ".css": "text/css", ".svg": "image/svg+xml" };
const BRIDGE_AT = "/bridge";

export class Site {
  #server = createServer();
  #rails;
  #bridge;
  #sockets = new Set();

  /** The roads that were taken, `websocket`, `sse` or `poll`, since somebody last cleared this. */
  taken = new Set();

  /** `bridge` may be absent: then there is only the WebSocket. Port 0 is a free one. */
  static async start({ rails, bridge, port = 0 }) {
    const site = new Site();
    site.#rails = rails.url;
    site.#bridge = bridge?.url;
    site.#server.on("request", (asked, answer) => site.#serve(asked, answer).catch(() => answer.destroy()));
    site.#server.on("upgrade", (asked, socket) => site.#upgrade(asked, socket));
    await new Promise((resolve) => site.#server.listen(port, "127.0.0.1", resolve));
    site.port = site.#server.address().port;
    site.url = `http://127.0.0.1:${site.port}`;
    return site;
  }

  stop() {
    this.#server.closeAllConnections();
    // Those it does not count as its own any more.
    for (const socket of this.#sockets) socket.destroy();
    return new Promise((resolve) => this.#server.close(resolve));
  }

  async #serve(asked, answer) {
    const { pathname, searchParams } = new URL(asked.url, this.url);
    if (pathname === "/cable") return pass(asked, answer, this.#rails + asked.url);
    if (pathname.startsWith(`${BRIDGE_AT}/`)) return this.#serveFromBridge(asked, answer);
    if (pathname === "/page") return send(answer, page(searchParams), "text/html", cookie(searchParams));
    const target = searchParams.get("target");
    if (pathname.startsWith("/bundles/")) return send(answer, await bundle(pathname.slice(9), target), "text/javascript");
    return serveFile(answer, pathname, target);
  }

  #serveFromBridge(asked, answer) {
    if (!this.#bridge) return sendStatus(answer, 502);
    if (asked.method === "GET" && !asked.url.startsWith(`${BRIDGE_AT}/-/`)) {
      this.taken.add(asked.headers.accept === "text/event-stream" ? "sse" : "poll");
    }
    return pass(asked, answer, this.#bridge + asked.url.slice(BRIDGE_AT.length));
  }

  #upgrade(asked, socket) {
    this.taken.add("websocket");
    const up = request(this.#rails + asked.url, { method: asked.method, headers: asked.headers });
    const end = () => (up.destroy(), socket.destroy());
    this.#sockets.add(socket);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("error", end);
    up.on("error", end);
    up.on("response", (refusal) => (socket.write(head(refusal)), refusal.pipe(socket)));
    up.on("upgrade", (accepted, upstream, first) => {
      socket.write(head(accepted));
      socket.write(first);
      upstream.on("error", end);
      socket.on("close", () => upstream.destroy());
      upstream.on("close", () => socket.destroy());
      upstream.pipe(socket).pipe(upstream);
    });
    up.end();
  }
}

/** Passes a request on to this address, and its answer back, as they come. */
export function pass(asked, answer, target) {
  const headers = { ...asked.headers, "x-forwarded-for": asked.socket.remoteAddress };
  const onward = request(target, { method: asked.method, headers, agent: false });
  onward.on("response", (theirs) => {
    answer.writeHead(theirs.statusCode, theirs.headers);
    // The head of a stream must not wait for its first event.
    answer.flushHeaders();
    theirs.on("error", () => answer.destroy());
    theirs.pipe(answer);
  });
  onward.on("error", () => (answer.headersSent ? answer.destroy() : sendStatus(answer, 502)));
  answer.on("close", () => onward.destroy());
  asked.pipe(onward);
}

function head(answer) {
  const lines = [`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}`];
  for (let at = 0; at < answer.rawHeaders.length; at += 2) {
    lines.push(`${answer.rawHeaders[at]}: ${answer.rawHeaders[at + 1]}`);
  }
  return `${lines.join("\r\n")}\r\n\r\n`;
}

function cookie(parameters) {
  return { "set-cookie": `user=${parameters.get("user") ?? "anna"}; Path=/` };
}

function send(answer, body, type, headers = {}) {
  answer.writeHead(200, { "content-type": `${type}; charset=utf-8`, "cache-control": "no-store", ...headers });
  answer.end(body);
}

function sendStatus(answer, status) {
  answer.writeHead(status, { "content-type": "text/plain" }).end(`${status}\n`);
}

// `/pages/…` is this folder's, `/node_modules/…` the clients as npm brought them.
async function serveFile(answer, pathname, target) {
  const path = normalize(decodeURIComponent(pathname));
  if (!/^\/(pages|node_modules)\//.test(path)) return sendStatus(answer, 404);
  try {
    const file = await readFile(join(here, path));
    send(answer, await translated(file, target), TYPES[extname(path)] ?? "application/octet-stream");
  } catch {
    sendStatus(answer, 404);
  }
}
