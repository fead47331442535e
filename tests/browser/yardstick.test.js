// No page is worse off for the script tag: side by side with the browser's own WebSocket in one window each, the page
// with the tag is never later with its first message, longer silent, or poorer by a message.
//
// Rails tells numbered news all the while. One row of figures a page goes into the table that the runner prints.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as later } from "node:timers/promises";
import { Network } from "./network.js";
import { missingOf } from "./parts/audience.js";
import { chosen as browserChosen, missingFor as missingForBrowser, names } from "./parts/browsers.js";
import { networks } from "./parts/networks.js";
import { News } from "./parts/news.js";
import { missingFor } from "./parts/rails.js";
import { everything, needing } from "./parts/skips.js";
import { stageIn } from "./parts/stage.js";
import { note } from "./parts/timings.js";
import { until } from "./parts/wait.js";
import { WebKits, missingForWebKit } from "./parts/webkit.js";
import { pageAt } from "./parts/world.js";
import { subscribe } from "./scenarios.js";

const NATIVE = "none";
const EVERY_MS = 200;
const OPEN_MS = 60_000;
/** What the tabs, all on two busy cores, may differ by where the native one is no measure of that. */
const ALLOWANCE_MS = 1_500;
const BACK_MS = 10_000;
const AWAY_MS = everything ? 60_000 : 20_000;

/**
 * `act`: what happens while the news are told, else so many `seconds` pass. `rtt`: of one round trip, in ms. `roads`: what
 * can work there at all, beside what the script chooses.
 */
const trials = {
  good: { seconds: 5 },
  "a WebSocket is cut at once": { faults: { cutUpgraded: 150 }, seconds: 15 },
  "a WebSocket is cut after 5 s": { faults: { cutUpgraded: 5_000 }, seconds: 25 },
  "a WebSocket is cut once 2 s are silent": { faults: { cutIdle: 2_000 }, seconds: 15, every: 2_500 },
  "a round trip takes 1.6 s": { faults: { delay: 800 }, seconds: 10, rtt: 1_600 },
  "a round trip takes 2.4 s": { faults: { delay: 1_200 }, seconds: 10, rtt: 2_400 },
  "the computer sleeps": { act: ({ browser }) => browser.sleep(AWAY_MS) },
  "the pages are frozen": { only: "chromium", act: ({ tabs }) => during(tabs, "freeze") },
  "the browser is offline": { only: "chromium", act: ({ tabs }) => during(tabs, "offline") },
};

// Where a WebSocket does not work there is nothing to compare with: nothing is lost then.
if (everything) {
  for (const [name, { faults, roads, drop }] of Object.entries(networks)) {
    const act = drop && (({ pages }) => Promise.all(pages.map(({ network }) => network.drop(drop))));
    trials[name] ??= { faults, roads, act, seconds: 10, rtt: 2 * (faults.delay ?? 0) };
  }
}

async function during(tabs, what) {
  await Promise.all(tabs.map((tab) => tab[what](true)));
  await later(10_000);
  await Promise.all(tabs.map((tab) => tab[what](false)));
}

// The slower of the two long lines says what the other does.
const usual = Object.keys(trials).filter((name) => everything || name !== "a round trip takes 1.6 s");
const chosen = process.env.TRIALS?.split(";") ?? usual;

for (const browser of everything ? names : ["chromium"]) {
  const what = `beside the browser's own WebSocket in ${browser}`;
  needing(what, [...missingForBrowser(browser), ...missingFor("7.2")], () => describe(what, () => tests(browser)));
}
if (everything && browserChosen("webkit")) {
  const what = "beside WebKitGTK's own WebSocket";
  needing(what, [...missingForWebKit(), ...missingFor("7.2")], () => describe(what, () => tests("webkit", WebKits.start)));
}

function tests(browserName, start) {
  const stage = stageIn(browserName, start);
  for (const name of chosen) {
    const { only = browserName } = trials[name];
    if (only === browserName) test(name, { timeout: 240_000 }, () => nobodyIsWorseOff(stage, name));
  }
}

async function nobodyIsWorseOff({ world, browser }, name) {
  const trial = trials[name];
  const { roads = ["websocket", "sse", "poll"] } = trial;
  const there = [NATIVE, "auto", "sse", "poll"].filter((road) => road === "auto" || roads.includes(road === NATIVE ? "websocket" : road));
  const pages = await Promise.all(there.map((road) => open({ world, browser }, trial, road)));
  try {
    await measure(world, browser, pages, trial);
    const rows = await Promise.all(pages.map(figures));
    rows.forEach((row) => note({ browser: browser.name, network: name, ...row }));
    compare(rows, trial);
  } finally {
    await Promise.all(pages.map(async ({ tab, network }) => (await tab.close(), await network.stop())));
  }
}

// Each over a port of its own: Chromium makes one WebSocket after the other to one port.
async function open({ world, browser }, { faults }, road) {
  const network = await Network.start(world.site.port, faults);
  const tab = await browser.window();
  await tab.open(pageAt(network.url, { road }));
  await tab.run(listen);
  await tab.run(lookTogether);
  return { tab, network, room: world.room(), road };
}

async function measure({ rails }, browser, pages, { act, seconds = 3, every = EVERY_MS }) {
  await Promise.all(pages.map(({ tab, room }) => subscribe(tab, "chat", room)));
  const greeted = ({ tab }) => tab.run(() => window.chat.firstMessageMs !== null);
  await until("all are greeted", OPEN_MS, async () => (await Promise.all(pages.map(greeted))).every(Boolean));
  const news = pages.map(({ room }) => News.start(rails, room, every));
  await later(1_000);
  if (act) await act({ browser, pages, tabs: pages.map(({ tab }) => tab) });
  await later(1_000 * seconds);
  await Promise.all(news.map((one) => one.stop()));
  // A last word, which all who are there hear.
  const last = news.map((one) => one.last);
  const heardAll = async () => (await Promise.all(pages.map(({ tab }) => tab.run(() => window.heard.map(([number]) => number)))))
    .every((numbers, at) => numbers.includes(last[at]));
  await until("all hear the last", BACK_MS, heardAll).catch(() => {});
  pages.forEach((page, at) => (page.last = last[at]));
}

/** In the page: the numbers that come, and when. */
function listen() {
  window.heard = [];
  const note = window.chat.note;
  window.chat.note = function (label, callback, details) {
    if (callback === "received" && details[0].text) window.heard.push([Number(details[0].text), performance.now()]);
    note.call(this, label, callback, details);
  };
}

/** In the page: ActionCable's own watch looks at the same times in all of them, else it is chance whose is lucky. */
function lookTogether() {
  const { prototype } = ActionCable.ConnectionMonitor;
  const { getPollInterval } = prototype;
  prototype.getPollInterval = function () {
    const { random } = Math;
    Math.random = () => 0.5;
    const interval = getPollInterval.call(this);
    Math.random = random;
    return interval;
  };
}

async function figures({ tab, road, last }) {
  const { heard, first, transport, now } = await tab.run(() => ({
    now: performance.now(),
    heard: window.heard,
    first: window.chat.firstMessageMs,
    transport: window.chat.consumer.connection.webSocket?.transport,
  }));
  const numbers = heard.map(([number]) => number);
  // One that never came back is silent still.
  const times = [...heard.map(([, at]) => at), ...(numbers.includes(last) ? [] : [now])];
  const silence = Math.max(...times.slice(1).map((at, before) => at - times[before]), 0);
  const lost = missingOf([0, ...numbers, last + 1]).length;
  return { road, transport, first: Math.round(first), silence: Math.round(silence), lost, doubled: numbers.length - new Set(numbers).size };
}

function compare(rows, { rtt = 0, act }) {
  const all = JSON.stringify(rows);
  const native = rows.find(({ road }) => road === NATIVE);
  for (const { road, first, silence, lost, doubled } of rows) {
    assert.equal(doubled, 0, `${road} heard something twice: ${all}`);
    if (!native) assert.equal(lost, 0, `${road} lost some: ${all}`);
    if (!native || road === NATIVE) continue;
    // Where nothing but a busy machine silences the native one, that says what the tabs may differ by.
    const allowance = native.lost || act ? ALLOWANCE_MS : 2 * native.silence;
    // After a sleep it is chance, natively too, whether ActionCable's own watch looks before the network is read, and begins anew.
    const chance = native.lost || act ? ALLOWANCE_MS / EVERY_MS : 0;
    assert.ok(lost <= native.lost + chance, `${road} lost more: ${all}`);
    assert.ok(silence <= native.silence + allowance + rtt, `${road} was longer silent: ${all}`);
    if (road === "auto") assert.ok(first <= 1.5 * native.first + rtt + allowance, `${road} was later: ${all}`);
  }
}
