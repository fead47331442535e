// Runs where www.example.com is up behind PROXY, as README sets it up: outages.test.js has tests/deploy/run make that
// place. Rails is on RAILS_PORT and uses Redis; before it, on port 3000, is the application with its pages.
//
// Numbered broadcasts go on all the time. Plain EventSources and pages with client.js are back within seconds, by
// themselves, and miss nothing but what came while they were away.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import { setTimeout as later } from "node:timers/promises";
import { Audience, figures, missingOf } from "../parts/audience.js";
import { Browser } from "../parts/browsers.js";
import { News } from "../parts/news.js";
import { openPlain, plainOnes, post } from "../parts/plain.js";
import { Program, answers } from "../parts/processes.js";
import { Rails } from "../parts/rails.js";
import { Redis } from "../parts/redis.js";
import { until } from "../parts/wait.js";
import { pageAt } from "../parts/world.js";
import { subscribed } from "../scenarios.js";
import { Site } from "../site.js";

const { PROXY: proxy, RAILS_PORT: port } = process.env;
const AT = "https://www.example.com";
const HEADINGS = { nginx: "nginx", haproxy: "HAProxy" };
const SECOND = "10.0.0.2:8080";
const ROADS = ["sse", "poll"];

const PLAIN = 12;
const EVERY_MS = 50;
const AWAY_MS = 10_000;
const UPGRADED_MS = 10_000;
const MOVED_MS = 5_000;
/** Only a failing test waits so long. */
const PATIENCE_MS = 40_000;
/** Broadcasts overtake each other: so many numbers before and after a loss may be missing. */
const UNDER_WAY = 40;
/** Pages until one is on the second bridge, and clients of which some are. */
const TRIES = 30;
const CHORUS = 12;

const rails = new Rails("6.1", port);
let redis, site, browser;

before(async () => {
  redis = await Redis.start();
  site = await Site.start({ rails, port: 3000 });
  browser = await Browser.start("chromium", { acceptInsecureCerts: true });
});
after(async () => {
  for (const part of [browser, site, redis]) await part?.stop();
});

test(`${proxy}: an upgrade, the bridge is away for 10 s`, { timeout: 120_000 }, async () => {
  const room = "upgraded";
  const plain = await page("none");
  await openPlain(plain, PLAIN, room);
  const tabs = {};
  for (const road of ROADS) await subscribed((tabs[road] = await page(road)), room);
  const audience = new Audience(plain, tabs);
  const news = News.start(rails, room, EVERY_MS);
  try {
    await audience.hears(0, PATIENCE_MS);

    execFileSync("systemctl", ["stop", "actioncable-to-eventsource"]);
    await later(AWAY_MS);
    const closed = (await plainOnes(plain)).filter((one) => one.closed);
    execFileSync("systemctl", ["start", "actioncable-to-eventsource"]);
    const took = await audience.hears(news.last, PATIENCE_MS);

    console.log(`back after an upgrade: ${figures(took)}`);
    assert.deepEqual(closed, [], "EventSources that gave up");
    assertBackWithin(UPGRADED_MS, took);
    for (const { path, joined } of await plainOnes(plain)) assert.deepEqual(joined, [false, false], `what joined told ${path}`);
    for (const [who, numbers] of Object.entries(await audience.heard())) assertNothingTwice(who, numbers);
  } finally {
    await news.stop();
  }
  for (const tab of [plain, ...Object.values(tabs)]) await tab.close();
});

// Last: the proxy has two bridges from then on.
if (proxy in HEADINGS) {
  test(`${proxy}: one of two bridges is killed, and comes back`, { timeout: 240_000 }, async () => {
    const other = await Rails.start("6.1", process.env.REDIS_URL);
    const stage = { room: "two-bridges", start: () => startSecond(other) };
    stage.second = await stage.start();
    execFileSync("bash", ["-euc", `readme "### Another bridge behind ${HEADINGS[proxy]}"`], { stdio: "pipe" });
    try {
      await killed(stage);
      await back(stage);
    } finally {
      await stage.news?.stop();
      await stage.second.stop();
      await other.stop();
    }
  });
}

/** It has a Rails of its own. */
function startSecond(other) {
  const options = ["-l", SECOND, "-s", `ws://127.0.0.1:${other.port}/cable`];
  const up = () => answers(`http://${SECOND}/-/health`);
  return Program.start("/usr/local/bin/actioncable-to-eventsource", options, { env: {}, up });
}

async function killed(stage) {
  const { room, second } = stage;
  const plain = (stage.plain = await page("none"));
  await openPlain(plain, PLAIN, room);
  const audience = (stage.audience = new Audience(plain, await pagesOn(stage)));
  stage.news = News.start(rails, room, EVERY_MS);
  await audience.hears(0, PATIENCE_MS);
  const home = await homes(plain);

  await second.kill();
  // One more may be on its way to it.
  const last = stage.news.last + 1;
  const took = await audience.hears(last, PATIENCE_MS);

  console.log(`back after a kill: ${figures(took)}`);
  assertBackWithin(MOVED_MS, took);
  for (const { path, joined } of await plainOnes(plain)) {
    assert.deepEqual(joined, home[path] ? [false, false] : [false], `what joined told ${path}`);
  }
  for (const [who, numbers] of Object.entries(await audience.heard())) {
    assertNothingTwice(who, numbers);
    if (home[who] === false) assert.deepEqual(missingOf(numbers), [], `${who} was on the other bridge and missed something`);
    else assertOneGap(who, numbers, last);
  }
}

/** A page on each road, both with their session on the second bridge. */
async function pagesOn({ room, second }) {
  const opened = () => second.output.split("event=session-opened").length;
  const tabs = {};
  for (const road of ROADS) {
    for (let tries = 0; !tabs[road]; tries += 1) {
      assert.ok(tries < TRIES, "the second bridge is chosen");
      const before = opened();
      const tab = await page(road);
      await subscribed(tab, room);
      if (opened() > before) tabs[road] = tab;
      else await tab.close();
    }
  }
  return tabs;
}

/** For each path whether its session is on the second bridge. */
async function homes(plain) {
  const home = {};
  for (const { path } of await plainOnes(plain)) {
    const answer = await fetch(`http://${SECOND}${path}`, { method: "POST", body: "[0]" });
    await answer.arrayBuffer();
    home[path] = answer.status !== 404;
  }
  assert.deepEqual(new Set(Object.values(home)), new Set([true, false]), "both bridges have sessions");
  return home;
}

async function back(stage) {
  const { plain, audience, news } = stage;
  const ones = await plainOnes(plain);
  const [moved, stayed] = [2, 1].map((times) => ones.find(({ joined }) => joined.length === times));
  const chorus = await page("sse");
  await chorus.run(openChorus, CHORUS, `${stage.room}-chorus`);
  await chorus.until("all of the chorus are connected", PATIENCE_MS, () => window.chorus.every(({ connected }) => connected === 1));

  stage.second = await stage.start();
  const its = async () => (await post(plain, moved.path)) === 404;
  await until("the paths of the bridge that is back are its own", PATIENCE_MS, its);
  await chorus.run(() => window.chorus.forEach((one) => one.speak()));

  // A stream that goes on elsewhere is of no use to who cannot send: its WebSocket ends, and comes back.
  await chorus.until("each is heard", PATIENCE_MS, () => window.chorus.every(({ heard }) => heard));
  const times = await chorus.run(() => window.chorus.map(({ connected }) => connected));
  assert.ok(times.includes(2), `some were on the wrong bridge: ${times}`);
  await audience.hears(news.last, PATIENCE_MS);
  assert.equal(await post(plain, stayed.path), 200);
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

/** In a window of its own: ActionCable takes its time where nobody looks. */
async function page(road) {
  const tab = await browser.window();
  await tab.open(pageAt(AT, { road }));
  return tab;
}

function assertBackWithin(most, took) {
  for (const [who, ms] of Object.entries(took)) assert.ok(ms < most, `${who} was back after ${ms} ms`);
}

function assertNothingTwice(who, numbers) {
  assert.equal(new Set(numbers).size, numbers.length, `${who} heard something twice`);
}

/** Nothing is missing but what came while the client was away, and was under way then. */
function assertOneGap(who, numbers, last) {
  const returned = Math.min(...numbers.filter((number) => number > last));
  const odd = missingOf(numbers).filter((number) => number < last - UNDER_WAY || number > returned + UNDER_WAY);
  assert.deepEqual(odd, [], `${who} missed more than what came around the loss, at ${last}`);
}
