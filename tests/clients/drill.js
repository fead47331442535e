// Every client at once on a bridge between them and a scripted ActionCable server: the first event comes within a second,
// and over a cut, a restart of the server and one of the bridge nothing is lost and nothing comes twice.

import { spawn } from "node:child_process";
import { createServer } from "node:http";
import net from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";

const here = dirname(fileURLToPath(import.meta.url));
const { BRIDGE: bridgeProgram, PYTHONPATH, JAVA } = process.env;
const FIRST_MS = Number(process.env.FIRST_MS ?? 1000);
const BATCH = 20;
const PATIENCE_MS = 40_000;

const python = (library) => ["python3", [join(here, "clients/stream.py"), library]];
const node = (library) => ["node", [join(here, "clients/stream.js"), library]];
const commands = {
  requests: python("requests"),
  "sseclient-py": python("sseclient-py"),
  "httpx-sse": python("httpx-sse"),
  polls: python("polls"),
  eventsource: node("eventsource"),
  "event-source-polyfill": node("event-source-polyfill"),
  "fetch-event-source": node("fetch-event-source"),
  ...(JAVA ? { HttpURLConnection: ["java", ["-cp", JAVA, "Stream"]] } : {}),
};

process.setMaxListeners(0);

const pause = (ms) => new Promise((later) => setTimeout(later, ms));

async function until(what, so) {
  for (const end = Date.now() + PATIENCE_MS; !so(); await pause(20)) {
    if (Date.now() > end) throw new Error(`not within ${PATIENCE_MS} ms: ${what()}`);
  }
}

/** Welcomes, confirms, and broadcasts numbers to the subscribers of a channel. */
class Cable {
  subscribers = new Map();

  async start(port = 0) {
    this.http = createServer();
    const sockets = new WebSocketServer({ server: this.http, handleProtocols: () => "actioncable-v1-json" });
    sockets.on("connection", (socket) => this.greet(socket));
    await new Promise((listening) => this.http.listen(port, "127.0.0.1", listening));
    this.port = this.http.address().port;
    this.sockets = sockets;
    this.pings = setInterval(() => this.each((socket) => this.say(socket, { type: "ping", message: Date.now() })), 1000);
  }

  async stop() {
    clearInterval(this.pings);
    this.subscribers.clear();
    this.each((socket) => socket.terminate());
    await new Promise((closed) => this.http.close(closed));
  }

  each(act) {
    this.sockets.clients.forEach(act);
  }

  say(socket, frame) {
    socket.send(JSON.stringify(frame));
  }

  greet(socket) {
    this.say(socket, { type: "welcome" });
    socket.on("message", (text) => {
      const { command, identifier } = JSON.parse(text);
      if (command !== "subscribe") return;
      this.subscribers.set(JSON.parse(identifier).channel, { socket, identifier });
      this.say(socket, { type: "confirm_subscription", identifier });
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      for (const [channel, one] of this.subscribers) if (one.socket === socket) this.subscribers.delete(channel);
    });
  }

  broadcast(n) {
    for (const { socket, identifier } of this.subscribers.values()) this.say(socket, { identifier, message: { n } });
  }
}

/** A road to the bridge that can be cut. */
class Road {
  sockets = new Set();

  async start(port) {
    this.server = net.createServer((client) => {
      const bridge = net.connect(port, "127.0.0.1");
      for (const [one, other] of [[client, bridge], [bridge, client]]) {
        this.sockets.add(one);
        one.setNoDelay(true);
        one.pipe(other);
        one.on("error", () => other.destroy());
        one.on("close", () => this.sockets.delete(one) && other.destroy());
      }
    });
    await new Promise((listening) => this.server.listen(0, "127.0.0.1", listening));
    return this.server.address().port;
  }

  cut() {
    this.sockets.forEach((socket) => socket.resetAndDestroy());
  }
}

function run(command, args, env = {}) {
  const child = spawn(command, args, { env: { ...process.env, ...env } });
  process.on("exit", () => child.kill("SIGKILL"));
  child.ended = new Promise((ended) => child.on("close", ended));
  return child;
}

async function startBridge(cable, port) {
  const child = run(bridgeProgram, ["-s", `ws://127.0.0.1:${cable.port}/cable`, "-l", `127.0.0.1:${port}`, "--heartbeat", "2s"]);
  child.log = "";
  child.stderr.on("data", (text) => (child.log += text));
  await until(() => "the bridge listens", () => /event=listening/.test(child.log));
  return { child, port: Number(/address=127\.0\.0\.1:(\d+)/.exec(child.log)[1]) };
}

class Client {
  numbers = [];
  errors = "";

  constructor(name, port) {
    this.name = name;
    this.channel = `Channel${name}`;
    const [command, args] = commands[name];
    const query = `channel=${encodeURIComponent(this.channel)}${name === "polls" ? "&timeout=5" : ""}`;
    this.child = run(command, [...args, `http://127.0.0.1:${port}/${name}-${crypto.randomUUID()}?${query}`]);
    let rest = "";
    this.child.stdout.on("data", (text) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop();
      lines.forEach((line) => this.take(line));
    });
    this.child.stderr.on("data", (text) => (this.errors += text));
  }

  take(line) {
    if (line === "asked") this.asked ??= performance.now();
    else if (line === "event") this.firstMs ??= performance.now() - this.asked;
    else this.numbers.push(Number(line));
  }
}

const cable = new Cable();
await cable.start();
let { child, port } = await startBridge(cable, 0);
const road = new Road();
const roadPort = await road.start(port);
const clients = [];

let sent = 0;
const all = () => Array.from({ length: sent }, (_, number) => number + 1).join();
const missing = () => clients.filter((one) => one.numbers.length < sent).map((one) => `${one.name} has ${one.numbers.length} of ${sent}\n${one.errors.slice(-400)}`);

async function subscribed(when) {
  const away = () => clients.filter((one) => !cable.subscribers.has(one.channel));
  await until(() => `${when}: subscribed, but for ${away().map((one) => `${one.name} ${one.errors.slice(-400)}`)}`, () => away().length === 0);
}

async function batch(after = () => {}) {
  for (let n = 0; n < BATCH; n++) {
    if (n === BATCH / 2) after();
    cable.broadcast(++sent);
    await pause(10);
  }
  await until(() => missing().join("\n"), () => missing().length === 0);
}

try {
  // One after the other: what is measured is the bridge, and not how many interpreters start at once.
  for (const name of Object.keys(commands)) {
    const client = new Client(name, roadPort);
    clients.push(client);
    await until(() => `the first event of ${name}\n${client.errors}`, () => client.firstMs !== undefined);
  }
  await subscribed("at first");
  await batch();
  await batch(() => road.cut());
  const cablePort = cable.port;
  await cable.stop();
  await pause(1000);
  await cable.start(cablePort);
  await subscribed("after a restart of the server");
  await batch();
  child.kill("SIGTERM");
  await child.ended;
  ({ child } = await startBridge(cable, port));
  await subscribed("after a restart of the bridge");
  await batch();
} catch (error) {
  console.error(error.message);
  process.exit(1);
}

let failed = false;
for (const { name, numbers, firstMs, errors } of clients) {
  const right = numbers.join() === all() && firstMs <= FIRST_MS;
  failed ||= !right;
  console.log(`${right ? "ok    " : "FAILED"} ${name}: first event after ${firstMs?.toFixed(0)} ms, ${numbers.length} of ${sent} messages${right ? "" : `: ${numbers}\n${errors}`}`);
}
process.exit(failed ? 1 : 0);
