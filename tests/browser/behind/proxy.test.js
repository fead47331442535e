// Runs where www.example.com is up behind PROXY, as README sets it up; BROWSER opens its pages. proxies.test.js has
// tests/deploy/run make that place. Rails is on RAILS_PORT, and on port 3000 before it the application with its pages.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import { setTimeout as later } from "node:timers/promises";
import { Browser } from "../parts/browsers.js";
import { TABS, nineTabs } from "../parts/crowd.js";
import { News } from "../parts/news.js";
import { useOwnPage } from "../parts/own-page.js";
import { Program, answers } from "../parts/processes.js";
import { Rails } from "../parts/rails.js";
import { everything } from "../parts/skips.js";
import { note } from "../parts/timings.js";
import { until } from "../parts/wait.js";
import { pageAt } from "../parts/world.js";
import { perform, subscribed, told } from "../scenarios.js";
import { Site } from "../site.js";

const { PROXY: proxy, BROWSER: browserName, RAILS_PORT: port } = process.env;
const AT = "https://www.example.com";
const CLIENT = "actioncable-8.1";
const HEADINGS = { nginx: "nginx", haproxy: "HAProxy" };
const SECOND = "10.0.0.2:8080";

const AWAY_MS = 10_000;
const BACK_MS = 10_000;
const MOVED_MS = 5_000;
const NEWS_MS = 20_000;
const TALK_MS = 250;
/** On one bridge of two are all of them once in 2^15 times. */
const CROWD = 16;

const rails = new Rails("6.1", port);
let browser, site;

before(async () => {
  site = await Site.start({ rails, port: 3000 });
  browser = await Browser.start(browserName, { acceptInsecureCerts: true });
});
after(async () => {
  await browser?.stop();
  await site?.stop();
});

for (const road of ["auto", "websocket", "sse", "poll"]) {
  test(`${proxy}, ${browserName}: ${road}`, { timeout: 60_000 }, async () => {
    const tab = await browser.tab();
    await tab.open(pageAt(AT, { client: CLIENT, road }));
    await subscribed(tab, `carries-${road}`);
    note({ browser: browserName, client: CLIENT, road, network: proxy, ms: await tab.run(() => window.chat.firstMessageMs) });

    await perform(tab, "chat", "speak", { text: "hi" });
    await told(tab, "chat", "received", 2);
    await perform(tab, "chat", "burst", { count: 500 });
    await told(tab, "chat", "received", 502);

    const { numbers, protocols, transport } = await tab.run(() => ({
      numbers: window.chat.values("chat", "number"),
      protocols: performance.getEntries().map((entry) => entry.nextHopProtocol).filter(Boolean),
      transport: window.chat.consumer.connection.webSocket.transport,
    }));
    assert.deepEqual(numbers, Array.from({ length: 500 }, (_, number) => number + 1));
    assert.deepEqual([...new Set(protocols)], ["h2"], "what the page came by");
    assert.equal(transport, road === "auto" ? "websocket" : road);
    await tab.close();
  });
}

test(`${proxy}, ${browserName}: the page that README says to open works on each road`, { timeout: 120_000 }, async () => {
  for (const road of ["websocket", "sse", "poll"]) {
    const tab = await browser.tab();
    await tab.open(`${AT}/bridge/-/`);
    await tab.run(() => (document.cookie = "user=anna; Path=/"));
    await useOwnPage(tab, road);
    assert.deepEqual(tab.console, []);
    await tab.close();
  }
});

if (browserName === "chromium" && (everything || proxy === "caddy")) {
  test(`${proxy}: nine streams over HTTP/2, and a tenth page loads`, { timeout: 120_000 }, async () => {
    const roads = await nineTabs({ rails, browser, room: "nine" }, AT, "sse");
    assert.deepEqual(roads, Array(TABS).fill("sse"));
  });
}

test(`${proxy}, ${browserName}: the bridge is away for 10 s, the clients are back within 10 s of its return`, { timeout: 120_000 }, async () => {
  const tabs = await openWindows(["sse", "poll"], "away");

  execFileSync("systemctl", ["stop", "actioncable-to-eventsource"]);
  await later(AWAY_MS);
  execFileSync("systemctl", ["start", "actioncable-to-eventsource"]);

  await Promise.all(tabs.map((tab) => told(tab, "chat", "connected", 2, BACK_MS)));
  await allHear("away", tabs);
});

// Last: the proxy has two bridges from then on.
if (proxy in HEADINGS) {
  test(`${proxy}, ${browserName}: one bridge of two is killed, its clients are on the other within 5 s`, { timeout: 120_000 }, async () => {
    const second = await startSecondBridge();
    execFileSync("bash", ["-euc", `readme "### Another bridge behind ${HEADINGS[proxy]}"`], { stdio: "pipe" });
    const onSecond = () => second.output.match(/event=session-opened/g)?.length ?? 0;
    const tabs = [];
    while (tabs.length < CROWD && (onSecond() === 0 || onSecond() === tabs.length)) {
      tabs.push(...(await openWindows([tabs.length % 2 ? "poll" : "sse"], "moved")));
    }
    const lost = onSecond();
    assert.ok(lost > 0 && lost < tabs.length, `${lost} of ${tabs.length} are on the second bridge`);

    // nginx tells a browser that a stream of HTTP/2 broke with its next words on that connection: news that come to the others.
    const news = News.start(rails, "moved", TALK_MS);
    await second.kill();

    const back = async () => sum(await Promise.all(tabs.map((tab) => tab.run(() => window.chat.count("chat", "connected")))));
    await until(`${lost} of ${tabs.length} are back`, MOVED_MS, async () => (await back()) === tabs.length + lost).finally(() => news.stop());
    await allHear("moved", tabs);
  });
}

const sum = (numbers) => numbers.reduce((all, one) => all + one, 0);

// Each in a window of its own: ActionCable takes its time where nobody looks.
async function openWindows(roads, room) {
  const tabs = [];
  for (const road of roads) {
    const tab = await browser.window();
    await tab.open(pageAt(AT, { client: CLIENT, road }));
    await subscribed(tab, room);
    tabs.push(tab);
  }
  return tabs;
}

async function allHear(room, tabs) {
  await rails.broadcast(room, "news");
  for (const tab of tabs) await tab.until("the news", NEWS_MS, () => window.chat.values("chat", "text").includes("news"));
  await Promise.all(tabs.map((tab) => tab.close()));
}

function startSecondBridge() {
  const options = ["-l", SECOND, "-s", "ws://127.0.0.1:3000/cable"];
  const up = () => answers(`http://${SECOND}/-/health`);
  return Program.start("/usr/local/bin/actioncable-to-eventsource", options, { env: {}, up });
}
