// The same scenario in each bad network: every message exactly once, both ways, within seconds of what that
// network costs at best, and no disconnect in the transcript where the session survived.
//
// 500 numbered messages come down over eight seconds, so that cuts fall into their midst, while the page sends
// twenty of its own. The quick subset takes the road that the script chooses; everything forces each in turn.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { missingFor as missingForBrowser, names } from "./parts/browsers.js";
import { Network } from "./network.js";
import { networks } from "./parts/networks.js";
import { missingFor } from "./parts/rails.js";
import { everything, needing } from "./parts/skips.js";
import { note } from "./parts/timings.js";
import { paced, until } from "./parts/wait.js";
import { stageIn } from "./parts/stage.js";
import { pageAt } from "./parts/world.js";
import { perform, subscribe, subscribed, told } from "./scenarios.js";

const CLIENT = "actioncable-8.1";
const DOWN = 500;
const DOWN_EVERY_MS = 16;
const UP = 20;
const UP_EVERY_MS = 400;
/** What a machine with two busy cores may add. */
const ALLOWANCE_MS = 8_000;
const OPEN_MS = 30_000;
/** A road that was cut at its opening, or the wrong one first. */
const GIVE_UP_MS = 15_000;

const everyWhere = (process.env.NETWORKS ?? Object.keys(networks).join(";")).split(";");

for (const browser of everything ? names : ["chromium"]) {
  const what = `networks in ${browser}`;
  needing(what, [...missingForBrowser(browser), ...missingFor("7.2")], () => describe(what, () => tests(browser)));
}

function tests(browserName) {
  const stage = stageIn(browserName);
  for (const name of everyWhere) {
    const roads = everything ? ["auto", ...networks[name].roads] : ["auto"];
    for (const road of roads) {
      test(`${name}: ${road}`, { timeout: 120_000 }, () => inNetwork(stage, name, road));
    }
  }
}

async function inNetwork({ world, browser }, name, road) {
  const { faults, drop, websocketDies } = networks[name];
  const network = await Network.start(world.site.port, faults);
  const tab = await browser.tab();
  try {
    const opened = Date.now();
    await tab.open(pageAt(network.url, { client: CLIENT, road }));
    const room = world.room();
    await subscribe(tab, "chat", room);
    await told(tab, "chat", "connected", 1, OPEN_MS);
    const ms = await tab.run(() => window.chat.firstMessageMs);
    note({ browser: browser.name, client: CLIENT, road, network: name, ms });
    const dies = websocketDies && ["auto", "websocket"].includes(road);
    if (dies) await comesBack(tab, network, drop, room);
    else await everythingOnce(tab, network, networks[name], opened);
  } finally {
    await tab.close();
    await network.stop();
  }
}

async function everythingOnce(tab, network, { drop, extra = 0 }) {
  const began = Date.now();
  const texts = Array.from({ length: UP }, (_, number) => `up ${number}`);
  await perform(tab, "chat", "trickle", { count: DOWN, every: DOWN_EVERY_MS });
  const dropped = drop ? midway(tab, () => network.drop(drop)) : null;
  await paced(UP, UP_EVERY_MS, (number) => perform(tab, "chat", "speak", { text: texts[number] }));
  await dropped;
  const atBest = DOWN * DOWN_EVERY_MS + extra;
  const left = began + atBest + ALLOWANCE_MS + GIVE_UP_MS - Date.now();
  await tab.until(`${DOWN} messages and ${UP} echoes`, left, enough, DOWN, UP);
  const took = Date.now() - began;

  const { numbers, echoes, transcript } = await heard(tab);
  assert.deepEqual(numbers, Array.from({ length: DOWN }, (_, number) => number + 1), "each message once, in order");
  assert.deepEqual(echoes.sort(), [...texts].sort(), "each of our own messages once");
  const moods = transcript.map(([, callback]) => callback).filter((callback) => callback !== "received");
  assert.deepEqual(moods, ["initialized", "connected"], "the application hears of nothing but messages");
  assert.ok(took < atBest + ALLOWANCE_MS, `took ${took} ms, at best ${atBest}`);
}

const enough = (down, up) =>
  window.chat.values("chat", "number").length >= down && window.chat.values("chat", "text").length >= up;

function midway(tab, act) {
  return until("a hundred messages", OPEN_MS, () => tab.run(() => window.chat.values("chat", "number").length > 100)).then(act);
}

// A WebSocket that is cut is lost with what was under way, and the client comes back by its own logic.
async function comesBack(tab, network, drop, room) {
  if (drop) await network.drop(drop);
  await told(tab, "chat", "disconnected", 1, OPEN_MS);
  await told(tab, "chat", "connected", 2, OPEN_MS);
  await subscribed(tab, `${room}-new`, "afterwards");
}

function heard(tab) {
  return tab.run(() => ({
    numbers: window.chat.values("chat", "number"),
    echoes: window.chat.values("chat", "text"),
    transcript: window.chat.transcript,
  }));
}
