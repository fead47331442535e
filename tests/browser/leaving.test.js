// A page that is closed or left ends its session at once: Rails, and whoever watches who is there, sees it within a second.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Browser, missingFor as missingForBrowser, names } from "./parts/browsers.js";
import { missingFor } from "./parts/rails.js";
import { needing } from "./parts/skips.js";
import { until } from "./parts/wait.js";
import { World, pageAt } from "./parts/world.js";
import { subscribed } from "./scenarios.js";

/** A second, and what a busy machine adds. */
const GONE_MS = 2_000;

const ways = {
  "closing the tab": (tab) => tab.close(),
  "leaving the page": (tab, world) => tab.open(`${world.site.url}/pages/left.html`),
};

for (const browser of names) {
  const what = `leaving in ${browser}`;
  needing(what, [...missingForBrowser(browser), ...missingFor("7.2")], () => describe(what, () => tests(browser)));
}

function tests(browserName) {
  const stage = {};
  before(async () => {
    stage.world = await World.start();
    stage.browser = await Browser.start(browserName);
  });
  after(async () => {
    await stage.browser?.stop();
    await stage.world?.stop();
  });
  for (const road of ["sse", "poll"]) {
    for (const way of Object.keys(ways)) {
      test(`${way}: ${road}`, { timeout: 60_000 }, () => ends(stage, road, ways[way]));
    }
  }
}

async function ends({ world, browser }, road, leave) {
  const ended = () => world.bridge.log.match(/event=session-ended/g)?.length ?? 0;
  const tab = await browser.tab();
  await tab.open(pageAt(world.site.url, { road }));
  await subscribed(tab, world.room());
  const before = ended();

  const began = Date.now();
  await leave(tab, world);

  await until("the session has ended", GONE_MS, () => ended() > before);
  assert.match(world.bridge.log, /event=session-ended .*reason="deleted"/);
  assert.ok(Date.now() - began < GONE_MS);
}
