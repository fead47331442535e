// What one client does to its own requests must not reach the others: honest sessions beside it, through each shipped
// proxy file with two bridges, see no 4xx and no 5xx, and their echoes take at most twice what they take alone, before and after it.
// And each kind in turn goes on while both bridges are told to end: that takes five seconds at most.
//
//   BRIDGE=target/release/actioncable-to-eventsource node tests/proxies/attack.js [SECONDS]

import http from "node:http";
import https from "node:https";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
import { ask, names, start, text, until } from "./parts.js";

const CALM_MS = 5_000;
const ATTACKED_MS = 1000 * Number(process.argv[2] ?? 10);
const BEFORE_DRAIN_MS = 2_000;
const DRAIN_MS = 5_000;
const HONEST = 6;
const PACE_MS = 40;
const PATIENCE_MS = 10_000;
/** Of each kind a second, unless it says less. */
const STRIKES = 8;
const FEW = { "long identifiers": 1, "large bodies": 2 };
/** Echoes below this are noise on a machine that does other things too, in ms. */
const NOISE_MS = 40;

const pause = (ms) => new Promise((later) => setTimeout(later, ms));
const random = () => Math.random().toString(36).slice(2) + Math.random().toString(36).slice(2);

/** Talks in a session of its own, and waits for each echo. */
class Honest {
  waits = [];
  bad = [];
  path = `/bridge/honest-${random()}`;
  identifier = JSON.stringify({ channel: "EchoChannel", room: this.path });
  agent = new https.Agent({ keepAlive: true, maxSockets: 4 });
  over = false;

  constructor(port) {
    this.port = port;
  }

  async ask(...request) {
    const answer = await ask(this.port, this.agent, ...request);
    if (answer.status !== 200) this.bad.push(answer.status);
    return answer;
  }

  async open() {
    const query = `identifier=${encodeURIComponent(this.identifier)}&raw=1`;
    const { response } = await this.ask("GET", `${this.path}?${query}`, { Accept: "text/event-stream" });
    this.heard = new Map();
    let rest = "";
    let connected;
    const joined = new Promise((told) => (connected = told));
    response.on("data", (piece) => {
      rest += piece;
      if (rest.includes("event: connected")) connected();
      for (const [, number] of rest.matchAll(/"n":(\d+)/g)) this.heard.get(Number(number))?.();
      rest = rest.slice(-200);
    });
    response.on("close", () => this.over || this.bad.push("the stream ended"));
    response.on("error", () => {});
    const late = pause(PATIENCE_MS).then(() => { throw new Error(`not subscribed within ${PATIENCE_MS} ms`); });
    await Promise.race([joined, late]);
    late.catch(() => {});
  }

  async talk() {
    for (let n = 1; !this.over; n++) {
      const began = performance.now();
      const echoed = new Promise((came) => this.heard.set(n, came));
      const body = JSON.stringify([{ identifier: JSON.parse(this.identifier), send: { n } }]);
      const { response } = await this.ask("POST", this.path, {}, body);
      if (response) await text(response);
      const came = await Promise.race([echoed.then(() => true), pause(5000)]);
      if (!came) this.bad.push(`echo ${n} did not come`);
      this.heard.delete(n);
      this.waits.push(performance.now() - began);
      await pause(PACE_MS);
    }
  }
}

/** A poll that its proxy must not take for dead, a POST's items, a head: each does what it does to itself. */
const kinds = (port, admin) => {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 100 });
  const attack = async (...request) => {
    const { status, response } = await ask(port, agent, ...request);
    if (response) await text(response);
    return status;
  };
  const long = JSON.stringify({ channel: "LongChannel", filler: "x".repeat(240_000) });
  const short = Array.from({ length: 255 }, (_, n) => ({ identifier: { channel: "ShortChannel", n }, subscribe: true }));
  const post = (path, items) => attack("POST", path, {}, JSON.stringify(items));
  return {
    "long polls": async () => {
      const status = await attack("GET", `/bridge/poll-${random()}?timeout=70`);
      if (status !== 200) throw new Error(`a long poll is told ${status}`);
    },
    "fat origins": async () => {
      const headers = { Origin: `https://${"a".repeat(2500)}`, "Access-Control-Request-Headers": "x-a,".repeat(600) };
      const status = await attack("OPTIONS", `/bridge/fat-${random()}`, headers);
      if (status !== 400) throw new Error(`an endless origin is told ${status}`);
    },
    "elements of pages": async () => {
      const headers = { "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image", Accept: "image/webp,*/*" };
      const status = await attack("GET", `/bridge/image-${random()}`, headers);
      if (status !== 403) throw new Error(`an image is told ${status}`);
    },
    "long identifiers": async () => {
      const path = `/bridge/long-${random()}`;
      await post(`${path}?poll-queue=8`, short);
      await post(path, [{ identifier: JSON.parse(long), subscribe: true }]);
      await post(path, short.map(({ identifier }) => ({ identifier, send: { text: "hi" } })));
      await attack("DELETE", path);
    },
    "pages that ask for metrics": async () => {
      const asked = { host: "127.0.0.1", port: admin, path: "/metrics", headers: { Origin: "https://evil.example" } };
      const response = await new Promise((told) => http.get(asked, told).on("error", () => told()));
      if (response && (response.statusCode !== 403 || response.headers["access-control-allow-origin"])) {
        throw new Error(`a page reads the metrics: ${response.statusCode}`);
      }
      response?.resume();
    },
    "departures": async () => {
      const { request } = await Promise.race([
        ask(port, agent, "GET", `/bridge/left-${random()}`, { Accept: "text/event-stream" }),
        pause(50).then(() => ({})),
      ]);
      request?.destroy();
    },
    "large heads": () => attack("GET", `/bridge/head-${random()}`, { Cookie: `a=${"b".repeat(7_500)}`, "X-B": "b".repeat(7_500), "X-C": "c".repeat(4_000) }),
    "large bodies": () => attack("POST", `/bridge/body-${random()}?poll-queue=1`, {}, `[${" ".repeat(1_000_000)}]`),
    "bad requests": () => attack("GET", `/bridge/bad-${random()}?timeout=x&after=y`, { "Last-Event-ID": "z" }),
  };
};

/** Strikes at its pace, on a thread of its own: the honest ones measure how long they wait for the bridge. `only`: one kind. */
function assault(port, admin, only) {
  for (const [name, strike] of Object.entries(kinds(port, admin))) {
    if (only && name !== only) continue;
    const complain = (error) => parentPort.postMessage(`${name}: ${error.message}`);
    setInterval(() => strike().catch(complain), 1000 / (FEW[name] ?? STRIKES));
  }
}

const p99 = (waits) => waits.toSorted((a, b) => a - b)[Math.floor(waits.length * 0.99)] ?? Infinity;

async function drill(proxy) {
  const place = await start(proxy);
  try {
    await until("the proxy serves", async () => (await ask(place.tls, undefined, "GET", "/bridge/-/health")).status === 200);
    const honest = Array.from({ length: HONEST }, () => new Honest(place.tls));
    await Promise.all(honest.map((one) => one.open()));
    const talks = honest.map((one) => one.talk());
    await pause(CALM_MS);
    const before = p99(honest.flatMap((one) => one.waits.splice(0)));
    const wrong = [];
    const attacker = new Worker(new URL(import.meta.url), { workerData: { port: place.tls, admin: place.admin } });
    attacker.on("message", (complaint) => wrong.push(complaint));
    attacker.on("error", (error) => wrong.push(String(error)));
    await pause(ATTACKED_MS);
    await attacker.terminate();
    const during = p99(honest.flatMap((one) => one.waits.splice(0)));
    await pause(CALM_MS);
    const alone = Math.max(before, p99(honest.flatMap((one) => one.waits.splice(0))));
    honest.forEach((one) => (one.over = true));
    await Promise.all(talks);
    const bad = honest.flatMap((one) => one.bad);
    console.log(`${proxy}: echo p99 ${alone.toFixed(1)} ms alone, ${during.toFixed(1)} ms attacked; the honest were told ${bad.length ? bad.join(", ") : "nothing bad"}`);
    if (wrong.length) console.log([...new Set(wrong)].join("\n"));
    return bad.length === 0 && wrong.length === 0 && during <= Math.max(2 * alone, NOISE_MS);
  } finally {
    await place.stop();
  }
}

/** SIGTERM to both bridges while this kind goes on: exit 0 within the contract's five seconds. */
async function drain(proxy, kind) {
  const place = await start(proxy);
  try {
    const attacker = new Worker(new URL(import.meta.url), { workerData: { port: place.tls, admin: place.admin, only: kind } });
    await pause(BEFORE_DRAIN_MS);
    const ends = await place.drain();
    await attacker.terminate();
    console.log(`${proxy}: under ${kind} the bridges end with ${ends.map(({ code, ms }) => `${code} after ${ms.toFixed(0)} ms`).join(" and ")}`);
    return ends.every(({ code, ms }) => code === 0 && ms < DRAIN_MS);
  } finally {
    await place.stop();
  }
}

if (isMainThread) {
  let failed = false;
  for (const proxy of names) failed = !(await drill(proxy)) || failed;
  const all = Object.keys(kinds(0, 0));
  // A kind each through the three proxies at a time.
  while (all.length) {
    const drains = await Promise.all(all.splice(0, names.length).map((kind, number) => drain(names[number], kind)));
    failed ||= drains.includes(false);
  }
  process.exit(failed ? 1 : 0);
} else {
  assault(workerData.port, workerData.admin, workerData.only);
}
