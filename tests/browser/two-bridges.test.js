// Two bridges behind a proxy that chooses by the path, two Rails that share Redis behind them; one bridge is killed
// under traffic, and comes back.
//
// Plain EventSources and client.js are on the other bridge within seconds, and what they miss is what the dead one had
// not delivered: those who were on the other bridge all the time miss nothing.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Audience, figures, missingOf } from "./parts/audience.js";
import { Bridge } from "./parts/bridge.js";
import { Browser, missingFor as missingForBrowser } from "./parts/browsers.js";
import { News } from "./parts/news.js";
import { openPlain, plainOnes, say } from "./parts/plain.js";
import { Proxy, hashing, missingFor as missingForProxy } from "./parts/proxies.js";
import { Rails, missingFor } from "./parts/rails.js";
import { Redis, missingForRedis } from "./parts/redis.js";
import { needing } from "./parts/skips.js";
import { until } from "./parts/wait.js";
import { pageAt } from "./parts/world.js";
import { subscribed } from "./scenarios.js";
import { Site } from "./site.js";

const ROOM = "two-bridges";
const PLAIN = 12;
const CHORUS = 12;
const EVERY_MS = 50;
const BACK_MS = 5_000;
/** Only a failing test waits so long. */
const PATIENCE_MS = 40_000;
/** Broadcasts overtake each other, and some were under way: so many numbers before and after the loss may be missing. */
const UNDER_WAY = 40;
/** A path chooses one of two bridges. */
const TRIES = 30;

for (const name of hashing) {
  const what = `two bridges behind ${name}`;
  const missing = [...missingForBrowser("chromium"), ...missingForProxy(name), ...missingFor("7.2"), ...missingForRedis()];
  needing(what, missing, () => describe(what, () => tests(name)));
}

function tests(name) {
  const stage = {};
  before(() => build(stage, name));
  after(async () => {
    for (const part of [stage.news, ...(stage.browsers ?? []), stage.proxy, stage.site]) await part?.stop();
    for (const part of [...(stage.bridges ?? []), ...(stage.rails ?? []), stage.redis]) await part?.stop();
  });
  test("one is killed: everybody is on the other within 5 s", { timeout: 180_000 }, (context) => killed(stage, context));
  test("it comes back: its paths are its own again", { timeout: 180_000 }, () => back(stage));
}

async function build(stage, name) {
  stage.redis = await Redis.start();
  stage.rails = [];
  stage.bridges = [];
  for (let number = 0; number < 2; number += 1) {
    const rails = await Rails.start("7.2", stage.redis.url);
    stage.rails.push(rails);
    stage.bridges.push(await Bridge.start("-s", `ws://127.0.0.1:${rails.port}/cable`));
  }
  const [one, another] = stage.bridges;
  stage.site = await Site.start({ rails: stage.rails[0] });
  stage.proxy = await Proxy.start(name, { application: stage.site.port, bridge: one.port, another: another.port });
  stage.browsers = [];
  stage.plain = await (await browser(stage)).tab();
  await stage.plain.open(pageAt(stage.proxy.url, { road: "none" }));
  await openPlain(stage.plain, PLAIN, ROOM);
}

/** One for each page: a page behind another one is hidden, and a hidden page takes its time. */
async function browser({ browsers }) {
  const started = await Browser.start("chromium", { acceptInsecureCerts: true });
  browsers.push(started);
  return started;
}

async function killed(stage, context) {
  await openBesideEachOther(stage);
  const { doomed, plain, audience } = stage;
  stage.news = News.start(stage.rails[0], ROOM, EVERY_MS);
  await audience.hears(0, PATIENCE_MS);
  const home = await homes(plain, doomed);

  await doomed.kill();
  // One more may be on its way to it.
  const last = stage.news.last + 1;
  const took = await audience.hears(last, PATIENCE_MS);

  const { tabs } = stage;
  context.diagnostic(`back after: ${figures(took)}`);
  for (const [who, ms] of Object.entries(took)) assert.ok(ms < BACK_MS, `${who} was back after ${ms} ms`);
  for (const { path, joined } of await plainOnes(plain)) {
    assert.deepEqual(joined, home[path] ? [false, false] : [false], `what joined told ${path}`);
  }
  for (const tab of Object.values(tabs)) {
    assert.deepEqual(await moods(tab), ["initialized", "connected", "disconnected", "connected"]);
  }
  for (const [who, numbers] of Object.entries(await audience.heard())) {
    assert.equal(new Set(numbers).size, numbers.length, `${who} heard something twice`);
    const missing = missingOf(numbers);
    if (home[who] === false) assert.deepEqual(missing, [], `${who} was on the other bridge and missed something`);
    else assertOneGap(missing, numbers, last, who);
  }
}

/** Nothing is missing but what was under way and what came while the client was away. */
function assertOneGap(missing, numbers, last, who) {
  const returned = Math.min(...numbers.filter((number) => number > last));
  const odd = missing.filter((number) => number < last - UNDER_WAY || number > returned + UNDER_WAY);
  assert.deepEqual(odd, [], `${who} missed more than what came around the loss, at ${last}`);
}

/** A tab on each road, all with their session on one and the same bridge: the doomed one. */
async function openBesideEachOther(stage) {
  stage.tabs = {};
  for (const road of ["sse", "poll"]) {
    const own = await browser(stage);
    for (let tries = 0; !stage.tabs[road]; tries += 1) {
      assert.ok(tries < TRIES, "both bridges are chosen");
      const { tab, bridge } = await open(stage, own, road);
      stage.doomed ??= bridge;
      if (bridge === stage.doomed) stage.tabs[road] = tab;
      else await tab.close();
    }
  }
  stage.audience = new Audience(stage.plain, stage.tabs);
}

async function open({ proxy, bridges }, own, road) {
  const before = bridges.map(opened);
  const tab = await own.tab();
  await tab.open(pageAt(proxy.url, { road }));
  await subscribed(tab, ROOM);
  const found = () => bridges.find((bridge, number) => opened(bridge) > before[number]);
  return { tab, bridge: await until("its bridge has said so", PATIENCE_MS, found) };
}

/** How many sessions it said that it opened. */
function opened(bridge) {
  return bridge.log.split("event=session-opened").length;
}

/** For each path whether its session is on this bridge. */
async function homes(plain, bridge) {
  const home = {};
  for (const { path } of await plainOnes(plain)) home[path] = await bridge.has(path);
  assert.deepEqual(new Set(Object.values(home)), new Set([true, false]), "both bridges have sessions");
  return home;
}

function moods(tab) {
  return tab.run(() => window.chat.transcript.map(([, callback]) => callback).filter((callback) => callback !== "received"));
}

async function back(stage) {
  const { doomed, plain, audience, news, proxy } = stage;
  const ones = await plainOnes(plain);
  const [moved, stayed] = [2, 1].map((times) => ones.find(({ joined }) => joined.length === times));
  const chorus = await (await browser(stage)).tab();
  await chorus.open(pageAt(proxy.url, { road: "sse" }));
  await chorus.run(openChorus, CHORUS, `${ROOM}-chorus`);
  await chorus.until("all of the chorus are connected", PATIENCE_MS, () => window.chorus.every(({ connected }) => connected === 1));

  await doomed.startAgain();
  const status = () => say(plain, moved.path, ROOM, "0");
  await until("the paths of the bridge that is back are its own", PATIENCE_MS, async () => (await status()) === 404);
  await chorus.run(() => window.chorus.forEach((one) => one.speak()));

  // A stream that goes on elsewhere is of no use to who cannot send: its WebSocket ends, and comes back.
  await chorus.until("each is heard", PATIENCE_MS, () => window.chorus.every(({ heard }) => heard));
  const times = await chorus.run(() => window.chorus.map(({ connected }) => connected));
  assert.ok(times.includes(2), `some were on the wrong bridge: ${times}`);
  await audience.hears(news.last, PATIENCE_MS);
  assert.equal(await say(plain, stayed.path, ROOM, "0"), 200);
}

/** Clients that say their number once they are told to, and again whenever they are connected anew. */
function openChorus(count, room) {
  window.chorus = Array.from({ length: count }, (_, number) => {
    const text = `singer ${number}`;
    const one = { connected: 0, heard: false };
    const subscription = ActionCable.createConsumer().subscriptions.create(
      { channel: "ChatChannel", room },
      {
        connected() {
          one.connected += 1;
          if (one.connected > 1) one.speak();
        },
        received(data) {
          one.heard ||= data.text === text;
        },
      },
    );
    one.speak = () => void subscription.perform("speak", { text });
    return one;
  });
}
