// Every client at once on a bridge between them and an ActionCable server, a scripted one and each Rails: the first event
// comes within a second, and over a cut, a restart of the server and one of the bridge nothing is lost and nothing comes twice.

import { spawn } from "node:child_process";
import { createServer } from "node:http";
import net from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { WebSocketServer } from "ws";
import { Rails, missingFor, versions } from "../browser/parts/rails.js";

const here = dirname(fileURLToPath(import.meta.url));
const { BRIDGE: bridgeProgram, PYTHONPATH, JAVA } = process.env;
const FIRST_MS = Number(process.env.FIRST_MS ?? 1000);
const BATCH = 20;
const PATIENCE_MS = 40_000;
const ROOM = "clients";
const IDENTIFIER = JSON.stringify({ channel: "ChatChannel", room: ROOM });

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

/** Welcomes, confirms, and broadcasts to its subscribers, in order. */
class Cable {
  keepsOrder = true;
  subscribers = new Map();
  #port = 0;

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  async startAgain() {
    this.http = createServer();
    this.sockets = new WebSocketServer({ server: this.http, handleProtocols: () => "actioncable-v1-json" });
    this.sockets.on("connection", (socket) => this.greet(socket));
    await new Promise((listening) => this.http.listen(this.#port, "127.0.0.1", listening));
    this.#port = this.http.address().port;
    this.pings = setInterval(() => this.each((socket) => this.say(socket, { type: "ping", message: Date.now() })), 1000);
  }

  async stop() {
    clearInterval(this.pings);
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
      this.subscribers.set(socket, identifier);
      this.say(socket, { type: "confirm_subscription", identifier });
    });
    socket.on("error", () => {});
    socket.on("close", () => this.subscribers.delete(socket));
  }

  broadcast(room, text) {
    for (const [socket, identifier] of this.subscribers) this.say(socket, { identifier, message: { from: "server", text } });
  }
}

/** A road to the bridge that can be cut. */
class Road {
  sockets = new Set();

  async start() {
    this.server = net.createServer((client) => {
      const bridge = net.connect(this.to, "127.0.0.1");
      for (const [one, other] of [[client, bridge], [bridge, client]]) {
        this.sockets.add(one);
        one.setNoDelay(true);
        one.pipe(other);
        one.on("error", () => other.destroy());
        one.on("close", () => this.sockets.delete(one) && other.destroy());
      }
    });
    await new Promise((listening) => this.server.listen(0, "127.0.0.1", listening));
    this.port = this.server.address().port;
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

async function startBridge(server, road, port) {
  // Rails wants an Origin, and these clients send none.
  const child = run(bridgeProgram, ["-s", `${server.url.replace("http", "ws")}/cable`, "-l", `127.0.0.1:${port}`,
    "--origin", `http://127.0.0.1:${road.port}`, "--heartbeat", "2s"]);
  child.log = "";
  child.stderr.on("data", (text) => (child.log += text));
  await until(() => `the bridge listens: ${child.log}`, () => /event=listening/.test(child.log));
  road.to = Number(/address=127\.0\.0\.1:(\d+)/.exec(child.log)[1]);
  return child;
}

class Client {
  texts = [];
  connected = 0;
  errors = "";

  constructor(name, port) {
    this.name = name;
    const [command, args] = commands[name];
    const query = `identifier=${encodeURIComponent(IDENTIFIER)}&user=ada${name === "polls" ? "&timeout=5" : ""}`;
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
    else if (line === "connected") this.connected += 1;
    else if (line !== "closed") this.texts.push(Number(line));
  }

  get lastErrors() {
    return `${this.name} ${this.errors.slice(-400)}`;
  }
}

/** All clients on one server. */
class Drill {
  clients = [];
  sent = 0;
  connections = 0;
  road = new Road();

  constructor(name, server) {
    this.name = name;
    this.server = server;
  }

  /** One client after the other: what is measured is the bridge, and not how many interpreters start at once. */
  async open() {
    await this.road.start();
    this.bridge = await startBridge(this.server, this.road, 0);
    for (const name of Object.keys(commands)) {
      const client = new Client(name, this.road.port);
      this.clients.push(client);
      await until(() => `the first event of ${client.lastErrors}`, () => client.firstMs !== undefined);
    }
  }

  async run() {
    await this.subscribed("at first");
    await this.batch();
    await this.batch(() => this.road.cut());
    await this.server.stop();
    await pause(1000);
    await this.server.startAgain();
    await this.subscribed("after a restart of the server");
    await this.batch();
    this.bridge.kill("SIGTERM");
    await this.bridge.ended;
    this.bridge = await startBridge(this.server, this.road, this.road.to);
    await this.subscribed("after a restart of the bridge");
    await this.batch();
  }

  /** Each client was told so once more. */
  async subscribed(when) {
    this.connections += 1;
    const away = () => this.clients.filter((one) => one.connected < this.connections);
    await until(() => `${when}: subscribed, but for ${away().map((one) => one.lastErrors)}`, () => away().length === 0);
  }

  async batch(after = () => {}) {
    for (let n = 0; n < BATCH; n++) {
      if (n === BATCH / 2) after();
      await this.server.broadcast(ROOM, String(++this.sent));
      await pause(10);
    }
    const missing = () => this.clients.filter((one) => one.texts.length < this.sent);
    await until(() => missing().map((one) => `has ${one.texts.length} of ${this.sent}: ${one.lastErrors}`).join("\n"), () => missing().length === 0);
  }

  /** Whether each client has had its first event in time, and each message once. Rails gives broadcasts to a pool, which keeps no order. */
  judge() {
    const all = Array.from({ length: this.sent }, (_, number) => number + 1).join();
    const rights = this.clients.map(({ name, texts, firstMs, errors }) => {
      const came = this.server.keepsOrder ? texts : texts.toSorted((one, other) => one - other);
      const right = came.join() === all && firstMs <= FIRST_MS;
      console.log(`${right ? "ok    " : "FAILED"} ${this.name}, ${name}: first event after ${firstMs?.toFixed(0)} ms, ${texts.length} of ${this.sent} messages${right ? "" : `: ${texts}\n${errors}`}`);
      return right;
    });
    return rights.every((right) => right);
  }
}

/** Those that can be had here; a Rails that is missing is told. */
async function startServers() {
  const servers = [["scripted", new Cable()]];
  for (const version of versions) {
    const missing = missingFor(version);
    if (missing.length) console.log(`SKIPPED the field's clients on Rails ${version}: there is no ${missing}`);
    else servers.push([`Rails ${version}`, await Rails.prepare(version)]);
  }
  await Promise.all(servers.map(([, server]) => server.startAgain()));
  return servers;
}

let failed = false;
try {
  const drills = (await startServers()).map(([name, server]) => new Drill(name, server));
  for (const drill of drills) await drill.open();
  const told = (drill) => (error) => { throw new Error(`${drill.name}: ${error.message}`); };
  await Promise.all(drills.map((drill) => drill.run().catch(told(drill))));
  for (const drill of drills) failed = !drill.judge() || failed;
} catch (error) {
  console.error(error.message);
  failed = true;
}
process.exit(failed ? 1 : 0);
