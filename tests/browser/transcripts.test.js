// One golden transcript of callbacks a scenario, recorded over a real WebSocket without the bridge's script,
// must come out equal over each road of the bridge, with every client unchanged from npm.
//
// The roads run side by side, one tab each, so that the slow thing, the clients' own way of coming back, is
// waited for once. Transcripts are compared by subscription: two confirmations of the server may swap.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { Bridge } from "./parts/bridge.js";
import { Browser, missingFor as missingForBrowser, names } from "./parts/browsers.js";
import { here } from "./parts/places.js";
import { Rails, missingFor, versions } from "./parts/rails.js";
import { everything, needing } from "./parts/skips.js";
import { scenarios } from "./scenarios.js";
import { Site } from "./site.js";

const GOLDEN = "none";
const TRIES = 3;
const ROADS = (process.env.ROADS ?? "websocket,sse,poll").split(",");

// The script of 7.2 is that of 8.1, byte for byte.
const clients = ["actioncable-6.1", "actioncable-8.1"];
if (everything) clients.unshift("actioncable-5.2", "actioncable-7.2");

const scriptOf = (version) => readFileSync(join(here, `node_modules/actioncable-${version}/app/assets/javascripts/actioncable.js`), "utf8");

test("what is shown for actioncable-8.1 is shown for 7.2", () => assert.ok(scriptOf("7.2") === scriptOf("8.1")));

for (const browser of everything ? names : ["chromium"]) {
  for (const version of everything ? versions : ["7.2"]) {
    const what = `transcripts in ${browser} with Rails ${version}`;
    needing(what, [...missingForBrowser(browser), ...missingFor(version)], () => {
      describe(what, () => transcripts(browser, version));
    });
  }
}

function transcripts(browserName, version) {
  const world = { rooms: 0 };
  before(async () => {
    world.rails = await Rails.start(version);
    world.bridge = await Bridge.start("-s", `ws://127.0.0.1:${world.rails.port}/cable`);
    world.site = await Site.start(world);
    world.browser = await Browser.start(browserName);
  });
  after(async () => {
    for (const part of [world.browser, world.site, world.bridge, world.rails]) await part?.stop();
  });
  for (const client of clients) {
    for (const scenario of scenarios) {
      if (scenario.slow && !everything && client !== "actioncable-8.1") continue;
      if (scenario.notIn?.includes(client)) continue;
      test(`${client}: ${scenario.name}`, { timeout: 240_000 }, () => compare(world, client, scenario));
    }
  }
}

// On a machine that is too busy the clients themselves try twice before they are back. What the browser's own
// WebSocket shows then is not what the scenario is about: once more.
async function compare(world, client, scenario) {
  let played;
  for (let tries = 0; tries < TRIES; tries += 1) {
    played = await play(world, client, scenario);
    if (isDeepStrictEqual(callbacks(played.golden), scenario.tells)) break;
  }
  const { golden, others, roads } = played;
  assert.deepEqual(callbacks(golden), scenario.tells, "the real WebSocket");
  assert.deepEqual(roads, [undefined, ...ROADS], "the roads");
  others.forEach((other, at) => assert.deepEqual(other, golden, `over ${ROADS[at]}`));
}

async function play(world, client, scenario) {
  const tabs = [];
  try {
    for (const road of [GOLDEN, ...ROADS]) tabs.push(await openTab(world, client, scenario, road));
    return await playIn(tabs, world, scenario);
  } finally {
    // One that stays open would hold its requests, and so the next one's road.
    await Promise.all(tabs.map((tab) => tab.close()));
  }
}

async function playIn(tabs, world, scenario) {
  const last = sharedSteps(tabs.length);
  const stages = tabs.map((tab) => ({ ...world, tab, user: "anna", room: `room-${(world.rooms += 1)}`, last }));

  if (scenario.prepare) await Promise.all(stages.map(scenario.prepare));
  if (scenario.together) await scenario.together(stages[0]);
  await Promise.all(stages.map(scenario.run));

  const roads = await Promise.all(tabs.map((tab) => tab.run(() => window.chat.consumer.connection.webSocket?.transport)));
  const [golden, ...others] = await Promise.all(tabs.map(transcript));
  return { golden, others, roads };
}

async function openTab({ browser, site }, client, scenario, road) {
  const tab = await browser.tab();
  await tab.open(`${site.url}/page?${new URLSearchParams({ client, road, user: scenario.user ?? "anna" })}`);
  // Nothing has connected yet. A tab that was closed may give back its place among the streams late, and this one would poll.
  await tab.run(() => localStorage.clear());
  return tab;
}

/** `last(name, step)`: the step is done when the last of so many asks, and all wait for it. */
function sharedSteps(count) {
  const steps = new Map();
  return (name, step) => {
    const shared = steps.get(name) ?? { asked: 0 };
    shared.done ??= new Promise((resolve) => (shared.resolve = resolve));
    steps.set(name, shared);
    if ((shared.asked += 1) === count) shared.resolve(step());
    return shared.done;
  };
}

async function transcript(tab) {
  const bySubscription = {};
  for (const [label, ...entry] of await tab.run(() => window.chat.transcript)) {
    (bySubscription[label] ??= []).push(entry);
  }
  return bySubscription;
}

function callbacks(transcript) {
  return Object.fromEntries(
    Object.entries(transcript).map(([label, entries]) => [label, entries.map(([callback]) => callback)]),
  );
}
