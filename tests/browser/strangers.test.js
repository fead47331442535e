// Another site's links, images, frames and forms come with the user's cookies, and open and join nothing.
//
// The user is logged in at 127.0.0.1, with cookies of every SameSite. The stranger is localhost, which is another site; the
// neighbour is another port, which is the same site and another origin: its requests carry all of the user's cookies.
// What reaches the application's server is counted there, without an application.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createSecureServer } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { Bridge } from "./parts/bridge.js";
import { Browser, missingFor, names } from "./parts/browsers.js";
import { missing } from "./parts/processes.js";
import { needing } from "./parts/skips.js";
import { until } from "./parts/wait.js";
import { pass } from "./site.js";

const PATIENCE_MS = 15_000;

const COOKIES = ["strict=1; SameSite=Strict; Path=/", "lax=1; SameSite=Lax; Path=/", "none=1; SameSite=None; Secure; Path=/"];

/** What another page can do with an address. Where it leads there, cookies that are Lax go with it from any site. */
const WAYS = {
  "a link": { act: (url) => void (location = url), leads: true },
  "a new window": { act: (url) => void window.open(url), leads: true },
  "a form": {
    act: (url) => {
      const form = Object.assign(document.createElement("form"), { action: url, target: "_blank" });
      document.body.append(form);
      form.submit();
    },
    leads: true,
  },
  "an image": { act: (url) => void (new Image().src = url) },
  "a script": { act: (url) => document.head.append(Object.assign(document.createElement("script"), { src: url })) },
  "a style sheet": {
    act: (url) => document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href: url })),
  },
  "a frame": { act: (url) => document.body.append(Object.assign(document.createElement("iframe"), { src: url })) },
  "a video": { act: (url) => document.body.append(Object.assign(document.createElement("video"), { src: url, preload: "auto" })) },
  "a fetch without CORS": {
    act: (url) => void fetch(url, { mode: "no-cors", credentials: "include", headers: { accept: "text/event-stream" } }).catch(() => {}),
  },
};

for (const browser of names) {
  const what = `another site's requests in ${browser}`;
  needing(what, [...missingFor(browser), ...missing("/usr/bin/openssl")], () => describe(what, () => tests(browser)));
}

function tests(browserName) {
  const stage = {};
  before(async () => {
    stage.upstream = await Upstream.start();
    stage.bridge = await Bridge.start("-r", "-s", `ws://127.0.0.1:${stage.upstream.port}/cable`);
    stage.site = await Site.start(stage.bridge.url);
    stage.browser = await Browser.start(browserName, { acceptInsecureCerts: true });
  });
  after(async () => {
    await stage.browser?.stop();
    await stage.site?.stop();
    await stage.bridge?.stop();
    await stage.upstream?.stop();
  });
  for (const way of Object.keys(WAYS)) {
    for (const from of ["stranger", "neighbour"]) {
      test(`${way} of a ${from} opens nothing`, { timeout: 60_000 }, () => opensNothing(stage, from, way));
    }
  }
  test("none of them joins a session that is there", { timeout: 120_000 }, () => joinsNothing(stage));
}

async function opensNothing({ upstream, site, browser }, from, way) {
  const { act, leads } = WAYS[way];
  const path = `/bridge/opened-by-${way.replaceAll(" ", "-")}-of-a-${from}`;
  const [user, evil] = await visits(browser, site, from);
  const before = upstream.handshakes.length;

  await evil.run(act, site.user + path).catch(() => {});

  const asked = await site.asked(path);
  assert.ok([403, 406].includes(asked.status), `${asked.status}`);
  // That the attack was one. What a stranger embeds gets its cookies by the browser's settings alone.
  if (leads || from === "neighbour") assert.match(asked.cookie, /lax=1.*none=1|none=1.*lax=1/);
  assert.equal(upstream.handshakes.length, before);
  await user.close();
  await evil.close().catch(() => {});
}

async function joinsNothing({ upstream, site, browser }) {
  const path = "/bridge/of-the-user";
  const [user, first] = await visits(browser, site, "stranger");
  await user.run((url) => {
    window.joined = 0;
    window.stream = new EventSource(url);
    stream.onmessage = ({ data }) => (window.joined += JSON.parse(data).type === "joined");
  }, site.user + path);
  await user.until("the user has joined", PATIENCE_MS, () => window.joined === 1);
  const handshakes = upstream.handshakes.length;
  await first.close();

  const attacks = Object.entries(WAYS).flatMap(([way, { act }]) => ["stranger", "neighbour"].map((from) => [from, way, act]));
  for (const [from, way, act] of attacks) {
    const evil = await browser.tab();
    await evil.open(site[from]);
    const before = site.count(path);
    await evil.run(act, site.user + path).catch(() => {});
    await until(`${way} of a ${from} was answered`, PATIENCE_MS, () => site.count(path) > before);
    await evil.close().catch(() => {});
  }

  // A listener of the session would have been told to the others.
  const marker = await browser.tab();
  await marker.open(`${site.user}/login`);
  await marker.run((url) => void (window.stream = new EventSource(url)), site.user + path);
  await user.until("the marker has joined", PATIENCE_MS, () => window.joined > 1);
  assert.equal(await user.run(() => window.joined), 2);
  assert.equal(upstream.handshakes.length, handshakes);
}

/** A tab of the user, logged in, and one of somebody else. */
async function visits(browser, site, from) {
  const user = await browser.tab();
  await user.open(`${site.user}/login`);
  const evil = await browser.tab();
  await evil.open(site[from]);
  return [user, evil];
}

/** A key and its certificate: `SameSite=None` is for HTTPS alone. */
function certificate() {
  const folder = mkdtempSync(join(tmpdir(), "certificate-"));
  const [key, cert] = ["key", "cert"].map((name) => join(folder, name));
  const make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert];
  execFileSync("openssl", make, { stdio: "ignore" });
  const made = { key: readFileSync(key), cert: readFileSync(cert) };
  rmSync(folder, { recursive: true });
  return made;
}

/** The user's site with the bridge under `/bridge/`, and the others: the same server under other names. */
class Site {
  #servers = [];
  #requests = [];

  static async start(bridge) {
    const site = new Site();
    const made = certificate();
    for (let port = 0; port < 2; port += 1) {
      const server = createSecureServer(made, (asked, answer) => site.#serve(bridge, asked, answer));
      await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
      site.#servers.push(server);
    }
    const [own, other] = site.#servers.map((server) => server.address().port);
    site.user = `https://127.0.0.1:${own}`;
    site.stranger = `https://localhost:${own}/evil`;
    site.neighbour = `https://127.0.0.1:${other}/evil`;
    return site;
  }

  #serve(bridge, asked, answer) {
    if (asked.url.startsWith("/bridge/")) {
      const request = { path: asked.url.split("?")[0], cookie: asked.headers.cookie ?? "" };
      answer.once("close", () => answer.headersSent && this.#requests.push({ ...request, status: answer.statusCode }));
      return pass(asked, answer, bridge + asked.url.slice("/bridge".length));
    }
    const cookies = asked.url === "/login" ? { "set-cookie": COOKIES } : {};
    answer.writeHead(200, { "content-type": "text/html", ...cookies }).end("<!doctype html><title>a page</title>");
  }

  /** The first request for this path that was answered. */
  async asked(path) {
    const find = () => this.#requests.find((request) => request.path === path);
    await until(`${path} was answered`, PATIENCE_MS, find);
    return find();
  }

  count(path) {
    return this.#requests.filter((request) => request.path === path).length;
  }

  stop() {
    return Promise.all(
      this.#servers.map((server) => {
        server.closeAllConnections();
        return new Promise((resolve) => server.close(resolve));
      }),
    );
  }
}

/** A cable server that welcomes everybody and says no more. */
class Upstream {
  #server = createServer();
  #sockets = new Set();
  handshakes = [];

  static async start() {
    const upstream = new Upstream();
    upstream.#server.on("upgrade", (asked, socket) => upstream.#welcome(asked, socket));
    await new Promise((resolve) => upstream.#server.listen(0, "127.0.0.1", resolve));
    upstream.port = upstream.#server.address().port;
    upstream.ping = setInterval(() => upstream.#sockets.forEach((socket) => socket.write(frame({ type: "ping", message: 1 }))), 2_000);
    return upstream;
  }

  #welcome(asked, socket) {
    this.handshakes.push(asked.url);
    this.#sockets.add(socket);
    socket.on("error", () => {}).on("close", () => this.#sockets.delete(socket));
    const key = createHash("sha1").update(`${asked.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${key}\r\n\r\n`);
    socket.write(frame({ type: "welcome" }));
  }

  stop() {
    clearInterval(this.ping);
    this.#sockets.forEach((socket) => socket.destroy());
    return new Promise((resolve) => this.#server.close(resolve));
  }
}

/** A short text frame. */
function frame(message) {
  const text = Buffer.from(JSON.stringify(message));
  return Buffer.concat([Buffer.from([0x81, text.length]), text]);
}
