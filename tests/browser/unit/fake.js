// What client.js finds in a browser, as far as Node has none of it, and a bridge that answers as the test says.

import { readFileSync } from "node:fs";

const source = readFileSync(new URL("../../../src/pages/client.js", import.meta.url), "utf8");

globalThis.self = globalThis;
globalThis.CloseEvent ??= class CloseEvent extends Event {
  constructor(type, { code, reason, wasClean }) {
    super(type);
    Object.assign(this, { code, reason, wasClean });
  }
};

/** A browser tab that has loaded client.js, and the requests that it makes. */
export class Tab {
  requests = [];
  #waiting = [];
  #listeners = new EventTarget();

  constructor({ script, native } = {}) {
    globalThis.sessionStorage = {};
    // Who cannot know what other tabs hold has a slot.
    globalThis.localStorage = undefined;
    globalThis.addEventListener = (...args) => this.#listeners.addEventListener(...args);
    globalThis.removeEventListener = (...args) => this.#listeners.removeEventListener(...args);
    globalThis.fetch = (url, init) => this.#fetch(url, init);
    globalThis.WebSocket = native;
    globalThis.dispatchEvent = (event) => this.#listeners.dispatchEvent(event);
    globalThis.document = { currentScript: script, baseURI: "https://app.example/page", hidden: false };
    globalThis.location = new URL("https://app.example/page");
    // An open port would keep Node from its end.
    globalThis.MessageChannel = class {
      port1 = { postMessage() {} };
      port2 = { postMessage: () => setImmediate(() => this.port1.onmessage()) };
    };
    this.client = new Function("bridgeClient", `${source}; return bridgeWebSocket;`)(() => {});
  }

  dispatch(type, fields) {
    this.#listeners.dispatchEvent(Object.assign(new Event(type), fields));
  }

  /** Opens a look-alike; what it does is noted in `happened`. */
  open(transport, protocols = "actioncable-v1-json", url = "wss://app.example/cable?token=t") {
    const WebSocket = this.client({ bridge: "https://app.example/bridge", transport });
    return noting(new WebSocket(url, protocols));
  }

  /** The next request of this method that is not taken yet. */
  async next(method = "GET") {
    for (;;) {
      const at = this.requests.findIndex((request) => request.method === method);
      if (at >= 0) return this.requests.splice(at, 1)[0];
      await new Promise((resolve) => this.#waiting.push(resolve));
    }
  }

  #fetch(url, { method = "GET", signal, ...init }) {
    return new Promise((resolve, reject) => {
      signal?.addEventListener("abort", () => reject(signal.reason));
      this.requests.push(new Request(new URL(url), { method, signal, ...init }, resolve, reject));
      this.#waiting.splice(0).forEach((wake) => wake());
    });
  }
}

class Request {
  constructor(url, { method, body, headers, keepalive, signal }, resolve, reject) {
    Object.assign(this, { url, method, body, headers, keepalive, resolve, signal });
    this.query = Object.fromEntries(url.searchParams);
    this.breaks = () => reject(new TypeError("Failed to fetch"));
  }

  answer(status, body) {
    const headers = { "Content-Type": "application/json" };
    this.resolve(new Response(body === undefined ? null : JSON.stringify(body), { status, headers }));
  }

  /** An event stream that the test writes to. */
  stream() {
    const stream = {};
    const body = new ReadableStream({
      start: (controller) => {
        stream.write = (text) => controller.enqueue(typeof text === "string" ? new TextEncoder().encode(text) : text);
        stream.end = () => controller.close();
        stream.breaks = () => controller.error(new TypeError("network error"));
        this.signal.addEventListener("abort", () => controller.error(this.signal.reason));
      },
    });
    this.resolve(new Response(body, { headers: { "Content-Type": "text/event-stream" } }));
    return stream;
  }

  /** An event stream that is open. */
  opened(protocol = "actioncable-v1-json", resumed = false) {
    const stream = this.stream();
    stream.write(`retry: 2000\n\nid: e0\nevent: open\ndata: ${JSON.stringify({ protocol, resumed })}\n\n`);
    return stream;
  }
}

export function noting(socket) {
  socket.happened = [];
  socket.waiting = [];
  const note = (what) => {
    socket.happened.push(what);
    socket.waiting.splice(0).forEach((wake) => wake());
  };
  socket.onopen = () => note(`open ${socket.protocol}`);
  socket.onmessage = ({ data }) => note(data);
  socket.onerror = () => note("error");
  socket.onclose = ({ code, reason, wasClean }) => note(`close ${code} ${reason} ${wasClean ? "clean" : "unclean"}`);
  return socket;
}

/** Resolves to what happened, once there is so much of it. */
export async function happened(socket, count) {
  while (socket.happened.length < count) await new Promise((resolve) => socket.waiting.push(resolve));
  return socket.happened;
}

/** All that waits for nothing outside has been done. */
export const settled = async () => {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
};
