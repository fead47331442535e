// A bad network between the browser and a server, on a port of its own. Several faults at once are fine.
//
// To each connection: `cut` resets it after so many ms, `delay` holds each byte back so many ms, each way.
// To each request: `noUpgrade` takes the upgrade out, `buffer` holds the answer back until it has ended, `http10`
// answers in HTTP/1.0 and closes, `cache` answers each GET that was answered once, whatever its headers said. To each
// upgraded connection: `cutUpgraded` resets it after so many ms, `cutIdle` once so many ms are without a byte.
// On command: `drop` resets all and lets nobody in, `unplug` lets nothing pass, and resets nothing.

import { createServer as createHttpServer, request } from "node:http";
import { connect, createServer } from "node:net";
import { setTimeout as later } from "node:timers/promises";

/** What a shared cache would not keep: a stream that lasted, an upload. */
const CACHED_MAX = 4 * 1024 * 1024;

export class Network {
  #faults;
  #target;
  #wire = createServer({ allowHalfOpen: true });
  #http = null;
  #pairs = new Set();
  #dropping = false;
  #unplugged = false;

  /** `target` is a port of 127.0.0.1. */
  static async start(target, faults = {}) {
    const network = new Network();
    network.#faults = faults;
    network.#target = target;
    if (faults.noUpgrade || faults.buffer || faults.http10 || faults.cache || faults.cutUpgraded || faults.cutIdle) {
      network.#http = spoil(target, faults);
      network.#target = await listen(network.#http);
    }
    network.#wire.on("connection", (client) => network.#accept(client));
    network.port = await listen(network.#wire);
    network.url = `http://127.0.0.1:${network.port}`;
    return network;
  }

  /** Resets all connections, and each new one for so many ms. */
  async drop(ms) {
    this.#dropping = true;
    for (const pair of this.#pairs) pair.reset();
    await later(ms);
    this.#dropping = false;
  }

  /** Nothing passes for so many ms, as with the cable out; then all that was sent arrives. */
  async unplug(ms) {
    this.#unplugged = true;
    for (const pair of this.#pairs) pair.pause();
    await later(ms);
    this.#unplugged = false;
    for (const pair of this.#pairs) pair.resume();
  }

  /** How many connections are open. */
  get connections() {
    return this.#pairs.size;
  }

  async stop() {
    for (const pair of this.#pairs) pair.reset();
    this.#http?.closeAllConnections();
    for (const server of [this.#wire, this.#http]) await new Promise((done) => (server ? server.close(done) : done()));
  }

  #accept(client) {
    if (this.#dropping) return reset(client);
    const pair = new Pair(client, connect({ port: this.#target, host: "127.0.0.1", allowHalfOpen: true }), this.#faults);
    this.#pairs.add(pair);
    pair.ended.then(() => this.#pairs.delete(pair));
    if (this.#unplugged) pair.pause();
  }
}

function listen(server) {
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));
}

/** One connection: the client's socket and ours to the server. */
class Pair {
  #sockets;
  #cutting;

  constructor(client, server, { cut, delay }) {
    this.#sockets = [client, server];
    this.ended = Promise.all(this.#sockets.map((socket) => new Promise((resolve) => socket.once("close", resolve))));
    for (const socket of this.#sockets) {
      socket.setNoDelay(true);
      socket.on("error", () => this.reset());
      // One that ended both ways is closed; one that was destroyed takes the other with it.
      socket.on("close", () => this.#sockets.forEach((other) => other.writableEnded || other.destroy()));
    }
    carry(client, server, delay);
    carry(server, client, delay);
    if (cut) this.#cutting = setTimeout(() => this.reset(), cut);
    this.ended.then(() => clearTimeout(this.#cutting));
  }

  reset() {
    this.#sockets.forEach(reset);
  }

  pause() {
    for (const socket of this.#sockets) socket.pause();
  }

  resume() {
    for (const socket of this.#sockets) socket.resume();
  }
}

// One that is being closed already must not be reset: node would wait for the rest of that close for ever, even
// to end the process.
function reset(socket) {
  if (socket.writableEnded) socket.destroy();
  else if (!socket.destroyed) socket.resetAndDestroy();
}

// Bytes and the end of them, from one socket to the other, so many ms later.
function carry(from, to, delay = 0) {
  const then = delay ? (act) => setTimeout(act, delay) : (act) => act();
  from.on("data", (bytes) => then(() => to.writable && to.write(bytes)));
  from.on("end", () => then(() => to.end()));
}

// The proxy that understands HTTP, and spoils it.
function spoil(target, faults) {
  const kept = faults.cache ? new Map() : null;
  const server = createHttpServer();
  server.on("request", (asked, answer) => serve(asked, answer, { target, faults, kept }));
  // Without a listener node takes an upgrade for a plain request, as a proxy does that knows none.
  if (!faults.noUpgrade && !faults.http10) server.on("upgrade", (asked, socket, first) => upgrade(asked, socket, first, target, faults));
  server.keepAliveTimeout = 60_000;
  return server;
}

function serve(asked, answer, { target, faults, kept }) {
  const key = asked.method === "GET" ? asked.url : null;
  const known = kept?.get(key);
  const send = faults.http10 ? sendOld : sendNew;
  if (known) return send(answer, { ...known, age: true }, [known.body]);
  const onward = request(to(target, asked));
  onward.on("error", () => answer.socket && reset(answer.socket));
  answer.on("close", () => onward.destroy());
  onward.on("response", async (theirs) => {
    const head = { status: theirs.statusCode, headers: withoutHopByHop(theirs.headers) };
    try {
      const whole = faults.buffer ? [await collect(theirs)] : theirs;
      await send(answer, head, kept && key ? keep(kept, key, head, whole) : whole);
    } catch {
      if (answer.socket) reset(answer.socket);
    }
  });
  asked.pipe(onward);
}

function to(target, asked) {
  const headers = withoutHopByHop(asked.headers);
  return { host: "127.0.0.1", port: target, method: asked.method, path: asked.url, headers, agent: false };
}

function withoutHopByHop(headers) {
  const { connection, upgrade, "keep-alive": alive, "transfer-encoding": coding, ...rest } = headers;
  return rest;
}

async function collect(body) {
  const parts = [];
  for await (const part of body) parts.push(part);
  return Buffer.concat(parts);
}

// Passes the body on, and keeps it once it has ended well.
async function* keep(kept, key, head, body) {
  const parts = [];
  let length = 0;
  for await (const part of body) {
    if ((length += part.length) <= CACHED_MAX) parts.push(part);
    yield part;
  }
  if (head.status === 200 && length <= CACHED_MAX) kept.set(key, { ...head, body: Buffer.concat(parts) });
}

async function sendNew(answer, { status, headers, age }, body) {
  answer.writeHead(status, age ? { ...headers, age: "1" } : headers);
  answer.flushHeaders();
  for await (const part of body) answer.write(part);
  answer.end();
}

// An answer as before 1997: no chunks, no second request on the connection.
async function sendOld(answer, { status, headers }, body) {
  const socket = answer.socket;
  const lines = [`HTTP/1.0 ${status} -`];
  for (const [name, value] of Object.entries(headers)) {
    for (const one of [value].flat()) lines.push(`${name}: ${one}`);
  }
  socket.write(`${lines.join("\r\n")}\r\nconnection: close\r\n\r\n`);
  for await (const part of body) socket.write(part);
  socket.end();
}

function upgrade(asked, socket, first, target, { cutUpgraded, cutIdle }) {
  const server = connect(target, "127.0.0.1");
  const lines = [`${asked.method} ${asked.url} HTTP/1.1`];
  for (let at = 0; at < asked.rawHeaders.length; at += 2) lines.push(`${asked.rawHeaders[at]}: ${asked.rawHeaders[at + 1]}`);
  server.write(`${lines.join("\r\n")}\r\n\r\n`);
  server.write(first);
  for (const [one, other] of [[socket, server], [server, socket]]) {
    one.on("error", () => other.destroy());
    one.on("close", () => other.destroy());
    one.pipe(other);
  }
  const cut = () => [socket, server].forEach(reset);
  const ending = cutUpgraded && setTimeout(cut, cutUpgraded);
  socket.on("close", () => clearTimeout(ending));
  if (cutIdle) [socket, server].forEach((one) => one.setTimeout(cutIdle, cut));
}
