// Ten seconds without a network in the middle of 500 messages show the application nothing but a pause.
//
// Without a network is three things: connections reset and refused (a router that restarts), silence (the cable
// out), and a browser that knows that it is offline.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Network } from "./network.js";
import { missingFor as missingForBrowser, names } from "./parts/browsers.js";
import { missingFor } from "./parts/rails.js";
import { everything, needing } from "./parts/skips.js";
import { stageIn } from "./parts/stage.js";
import { pageAt } from "./parts/world.js";
import { perform, subscribed } from "./scenarios.js";

const OUT_MS = 10_000;
const MESSAGES = 500;
/** Most are still to come when the network goes, on a busy machine too. */
const EVERY_MS = 20;
/** Back again, the rest comes within seconds. */
const BACK_MS = 10_000;
/** Far over what a busy machine makes by itself: the network was really gone. */
const PAUSE_MIN_MS = 5_000;

const outages = {
  reset: ({ network }) => network.drop(OUT_MS),
  silent: ({ network }) => network.unplug(OUT_MS),
  async offline({ network, tab }) {
    await tab.offline(true);
    await network.drop(OUT_MS);
    await tab.offline(false);
  },
};

for (const browser of everything ? names : ["chromium"]) {
  const what = `unplugged in ${browser}`;
  needing(what, [...missingForBrowser(browser), ...missingFor("7.2")], () => describe(what, () => tests(browser)));
}

function tests(browserName) {
  const stage = stageIn(browserName);
  for (const road of ["sse", "poll"]) {
    for (const outage of Object.keys(outages)) {
      test(`${outage}: ${road}`, { timeout: 120_000 }, () => onlyAPause(stage, road, outages[outage]));
    }
  }
}

async function onlyAPause({ world, browser }, road, outage) {
  const network = await Network.start(world.site.port);
  const tab = await browser.tab();
  try {
    await tab.open(pageAt(network.url, { road }));
    await subscribed(tab, world.room());
    await perform(tab, "chat", "trickle", { count: MESSAGES, every: EVERY_MS });
    await tab.until("a hundred messages", BACK_MS, received, 100);
    await Promise.all([outage({ network, tab }), longestPause(tab)]);
    await tab.until(`all ${MESSAGES}`, BACK_MS, received, MESSAGES);

    const { numbers, callbacks, pause } = await heard(tab);
    assert.deepEqual(numbers, Array.from({ length: MESSAGES }, (_, number) => number + 1));
    assert.deepEqual(callbacks, ["initialized", "connected"]);
    assert.ok(pause > PAUSE_MIN_MS, `the network was gone, the longest pause was ${pause} ms`);
  } finally {
    await tab.close();
    await network.stop();
  }
}

const received = (count) => window.chat.values("chat", "number").length >= count;

// Watches inside of the page, where the network is not needed for it.
function longestPause(tab) {
  return tab.run(() => {
    let last = performance.now();
    const note = window.chat.note;
    window.chat.longestPause = 0;
    window.chat.note = function (label, callback, details) {
      window.chat.longestPause = Math.max(window.chat.longestPause, performance.now() - last);
      last = performance.now();
      note.call(this, label, callback, details);
    };
  });
}

function heard(tab) {
  return tab.run(() => ({
    numbers: window.chat.values("chat", "number"),
    callbacks: window.chat.transcript.map((entry) => entry[1]).filter((callback) => callback !== "received"),
    pause: window.chat.longestPause,
  }));
}
