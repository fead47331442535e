// An upgrade behind each proxy: the bridge stops, is away for ten seconds, and starts.
//
// Meanwhile the proxies answer streams with nothing but a `retry:`, so that no EventSource gives up. Plain ones and
// client.js are back and have subscribed within ten seconds, without the application's help.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as later } from "node:timers/promises";
import { Audience, figures, missingOf } from "./parts/audience.js";
import { Browser, missingFor as missingForBrowser } from "./parts/browsers.js";
import { News } from "./parts/news.js";
import { openPlain, plainOnes } from "./parts/plain.js";
import { Proxy, missingFor as missingForProxy, names } from "./parts/proxies.js";
import { missingFor } from "./parts/rails.js";
import { needing } from "./parts/skips.js";
import { World, pageAt } from "./parts/world.js";
import { subscribed } from "./scenarios.js";

const PLAIN = 8;
const EVERY_MS = 50;
const AWAY_MS = 10_000;
const BACK_MS = 10_000;
/** Only a failing test waits so long. */
const PATIENCE_MS = 40_000;

for (const name of names) {
  const what = `an upgrade behind ${name}`;
  needing(what, [...missingForBrowser("chromium"), ...missingForProxy(name), ...missingFor("7.2")], () => {
    describe(what, () => tests(name));
  });
}

function tests(name) {
  const stage = {};
  before(async () => {
    stage.world = await World.start();
    const { site, bridge } = stage.world;
    stage.proxy = await Proxy.start(name, { application: site.port, bridge: bridge.port });
    stage.browsers = [];
  });
  after(async () => {
    for (const part of [stage.news, ...(stage.browsers ?? []), stage.proxy, stage.world]) await part?.stop();
  });
  test("everybody is back within 10 s", { timeout: 180_000 }, (context) => upgraded(stage, context));
}

/** In a browser of its own: a page behind another one is hidden, and a hidden page takes its time. */
async function page({ browsers, proxy }, road) {
  const browser = await Browser.start("chromium", { acceptInsecureCerts: true });
  browsers.push(browser);
  const tab = await browser.tab();
  await tab.open(pageAt(proxy.url, { road }));
  return tab;
}

async function upgraded(stage, context) {
  const { world } = stage;
  const [room, plain, tabs] = [world.room(), await page(stage, "none"), {}];
  await openPlain(plain, PLAIN, room);
  for (const road of ["sse", "poll"]) {
    tabs[road] = await page(stage, road);
    await subscribed(tabs[road], room);
  }
  const audience = new Audience(plain, tabs);
  stage.news = News.start(world.rails, room, EVERY_MS);
  await audience.hears(0, PATIENCE_MS);

  await world.bridge.stop();
  await later(AWAY_MS);
  const ones = await plainOnes(plain);
  await world.bridge.startAgain();
  const took = await audience.hears(stage.news.last, PATIENCE_MS);

  context.diagnostic(`back after: ${figures(took)}`);
  assert.deepEqual(ones.filter(({ closed }) => closed), [], "EventSources that gave up");
  for (const [who, ms] of Object.entries(took)) assert.ok(ms < BACK_MS, `${who} was back after ${ms} ms`);
  for (const { path, joined } of await plainOnes(plain)) assert.deepEqual(joined, [false, false], `what joined told ${path}`);
  for (const [who, numbers] of Object.entries(await audience.heard())) {
    assert.equal(new Set(numbers).size, numbers.length, `${who} heard something twice`);
    assert.ok(missingOf(numbers).length > AWAY_MS / EVERY_MS / 4, `${who} was away`);
  }
}
