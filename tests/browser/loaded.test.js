// How the script is loaded, and where: on plain http, as a module, too late, twice, in a Worker. What the page's user
// would not see otherwise is one line on the console.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Browser, missingFor as missingForBrowser, names } from "./parts/browsers.js";
import { missingFor } from "./parts/rails.js";
import { everything, needing } from "./parts/skips.js";
import { until } from "./parts/wait.js";
import { World, pageAt } from "./parts/world.js";
import { subscribed, told } from "./scenarios.js";

const PATIENCE_MS = 15_000;
/** A page that holds no request open hears each message 3 s late. */
const AT_ONCE_MS = 1_500;
const INTRANET = "intranet.example";

/** The tags of a page, and what it is told; nothing is installed, or not for those who came before. */
const wrong = {
  "as a module": ['<script type="module" src="/bridge/-/client.js"></script>', /no module/],
  "after ActionCable": [
    '<script src="/node_modules/actioncable-8.1/app/assets/javascripts/actioncable.js"></script><script src="/bridge/-/client.js"></script>',
    /before ActionCable/,
  ],
  "in an old browser": ["<script>delete AbortController.prototype.abort; delete self.TextDecoder</script><script src=\"/bridge/-/client.js\"></script>", /TextDecoder/],
  "as client.mjs": ['<script type="module">import client from "/bridge/-/client.mjs"; window.made = client()</script>'],
};

for (const browser of everything ? names : ["chromium"]) {
  const what = `loaded in ${browser}`;
  needing(what, [...missingForBrowser(browser), ...missingFor("7.2")], () => describe(what, () => tests(browser)));
}

function tests(browserName) {
  const stage = {};
  before(async () => {
    stage.world = await World.start();
    stage.browser = await Browser.start(browserName, { flags: browserName === "chromium" ? [`--host-resolver-rules=MAP ${INTRANET} 127.0.0.1`] : [] });
  });
  after(async () => {
    for (const part of [stage.browser, stage.world]) await part?.stop();
  });
  if (browserName === "chromium") {
    for (const road of ["auto", "websocket", "sse", "poll"]) {
      test(`on plain http: ${road}`, { timeout: 60_000 }, () => onPlainHttp(stage, road));
    }
    test("on plain http four tabs hold three streams open", { timeout: 60_000 }, () => fourTabs(stage));
  }
  for (const [how, tag] of Object.entries(wrong)) test(how, { timeout: 60_000 }, () => warnsOnce(stage, tag));
  for (const kind of ["classic", "module"]) test(`in a Worker: ${kind}`, { timeout: 60_000 }, () => inWorker(stage, kind));
}

const plain = ({ site }) => site.url.replace("127.0.0.1", INTRANET);

async function onPlainHttp({ world, browser }, road) {
  const tab = await browser.tab();
  const room = world.room();
  await tab.open(pageAt(plain(world), { road }));
  assert.equal(await tab.run(() => isSecureContext || "locks" in navigator), false);
  await subscribed(tab, room);
  await told(tab, "chat", "received", 1);

  const began = Date.now();
  await world.rails.broadcast(room, "news");
  await told(tab, "chat", "received", 2);

  const socket = await tab.run(() => {
    const { transport, transportReason } = window.chat.consumer.connection.webSocket;
    return { transport, transportReason };
  });
  assert.deepEqual(socket, { transport: road === "auto" ? "websocket" : road, transportReason: road === "auto" ? "first choice" : "as configured" });
  assert.ok(Date.now() - began < AT_ONCE_MS, `the news took ${Date.now() - began} ms`);
  await tab.close();
}

async function fourTabs({ world, browser }) {
  const tabs = [];
  for (let number = 0; number < 4; number += 1) {
    const tab = await browser.tab();
    await tab.open(pageAt(plain(world), { road: "sse" }));
    await subscribed(tab, world.room());
    tabs.push(tab);
  }
  const socket = (tab) => tab.run(() => [window.chat.consumer.connection.webSocket.transport, window.chat.consumer.connection.webSocket.transportReason]);
  const taken = await Promise.all(tabs.map(socket));
  await Promise.all(tabs.map((tab) => tab.close()));
  assert.deepEqual(taken.map(([transport]) => transport), ["sse", "sse", "sse", "poll"]);
  assert.equal(taken[3][1], "other requests are held open");
}

async function warnsOnce({ world, browser }, [tags, says]) {
  const tab = await browser.tab();
  await tab.open(`${world.site.url}/pages/left.html`);
  await tab.run((tags) => {
    window.frame = document.createElement("iframe");
    frame.srcdoc = `<!doctype html><link rel="icon" href="data:,">${tags}`;
    document.body.append(frame);
    return new Promise((resolve) => (frame.onload = resolve));
  }, tags);

  await tab.until("the scripts have run", PATIENCE_MS, () => frame.contentDocument.readyState === "complete");
  if (says) await until("it warns", PATIENCE_MS, () => tab.console.length > 0);
  else assert.equal(await tab.run(() => typeof frame.contentWindow.made), "function");

  const [line, ...more] = tab.console;
  if (says) assert.match(line, says);
  assert.deepEqual(more, []);
  await tab.close();
}

async function inWorker({ world, browser }, kind) {
  const tab = await browser.tab();
  await tab.open(pageAt(world.site.url, { road: "none" }));
  const [[transport, data, session], closed] = await tab.run(inPage, kind);
  assert.deepEqual([transport, data, closed], ["sse", '{"type":"welcome"}', ["closed", 1005]]);
  assert.ok(session.startsWith(`${world.site.url}/bridge/`), session);
  await tab.close();
}

/** In the page: the first message of a Worker's socket, and its end. */
async function inPage(kind) {
  const worker = new Worker(`/pages/worker.js?kind=${kind}`, { type: kind });
  const next = () =>
    new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = ({ message }) => reject(new Error(message));
    });
  const first = await next();
  worker.postMessage("close");
  for (let last; ; ) if ((last = await next())[0] === "closed") return [first, last];
}
