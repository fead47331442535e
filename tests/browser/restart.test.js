// A bridge that was away knows no session any more: the clients are back by themselves, and soon.
//
// The look-alike closes then, and the client's own way of coming back begins. ActionCable's would take up to 17 s by itself.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as later } from "node:timers/promises";
import { applications, openGreeted } from "./parts/applications.js";
import { missingFor as missingForBrowser, names } from "./parts/browsers.js";
import { missingFor } from "./parts/rails.js";
import { everything, needing } from "./parts/skips.js";
import { stageIn } from "./parts/stage.js";
import { until } from "./parts/wait.js";
import { pageAt } from "./parts/world.js";
import { subscribed, told } from "./scenarios.js";

const ROADS = ["sse", "poll"];
const AWAY_MS = 10_000;
const NEWS_MS = 20_000;

/** What somebody says again and again, to learn when a page hears it. */
const TELL_EACH_MS = 250;
/** AnyCable's first pause is up to 9 s, at random; the others are back within 2 s. */
const OTHERS_WITHIN_MS = 15_000;

const clients = everything ? ["actioncable-6.1", "actioncable-7.2", "actioncable-8.1"] : ["actioncable-8.1"];

// They say nothing of the loss that all of them would call the same: what counts is when a page shows news again.
const others = ["turbo", "turbo-module", "anycable", "graphql"];

// `within`: so soon the client is back, counted from the return of the bridge.
const absences = {
  "killed, and back at once": { leave: (bridge) => bridge.kill(), within: 5_000 },
  "stopped, and back at once": { leave: (bridge) => bridge.stop(), within: 10_000 },
  "killed, and away for 10 s": { leave: (bridge) => bridge.kill(), away: AWAY_MS, within: 10_000 },
};

for (const browser of everything ? names : ["chromium"]) {
  const what = `the bridge starts again, in ${browser}`;
  needing(what, [...missingForBrowser(browser), ...missingFor("7.2")], () => describe(what, () => tests(browser)));
}

function tests(browserName) {
  const stage = stageIn(browserName);
  for (const client of clients) {
    for (const [name, absence] of Object.entries(absences)) {
      test(`${client}: ${name}`, { timeout: 120_000 }, () => comesBack(stage, client, absence));
    }
  }
  for (const client of others) {
    for (const road of ROADS) {
      test(`${client}, ${road}: killed, and back at once`, { timeout: 60_000 }, () => hearsAgain(stage, client, road));
    }
  }
}

async function comesBack({ world, browser }, client, { leave, away, within }) {
  const room = world.room();
  const tabs = [];
  for (const road of ROADS) {
    // ActionCable takes its time where nobody looks.
    const tab = await browser.window();
    tabs.push(tab);
    await tab.open(pageAt(world.site.url, { client, road }));
    await subscribed(tab, room);
  }

  await leave(world.bridge);
  if (away) await later(away);
  await world.bridge.startAgain();

  await Promise.all(tabs.map((tab) => told(tab, "chat", "connected", 2, within)));
  await world.rails.broadcast(room, "news");
  for (const tab of tabs) await tab.until("the news", NEWS_MS, () => window.chat.values("chat", "text").length > 0);
  for (const tab of tabs) assert.deepEqual(await tab.run(moods), ["initialized", "connected", "disconnected", "connected"]);
  await Promise.all(tabs.map((tab) => tab.close()));
}

async function hearsAgain({ world, browser }, client, road) {
  const application = applications[client];
  const room = world.room();
  const tab = await browser.window();
  await openGreeted({ world, tab, client, road, room });

  await world.bridge.kill();
  await world.bridge.startAgain();

  let told = 0;
  await until("news after the restart", OTHERS_WITHIN_MS, async () => {
    // What is said before the page is subscribed again is for nobody: that is ActionCable's promise, and no more.
    await application.tell(world.rails, room, `news ${(told += 1)}`);
    await later(TELL_EACH_MS);
    return (await application.shown(tab)).some((shown) => shown.startsWith("news"));
  });
  await tab.close();
}

const moods = () => window.chat.transcript.map((entry) => entry[1]).filter((callback) => callback !== "received");
