// Every client on every road: a page that subscribes is greeted, and shows what is broadcast, once.
//
// The quick subset is the good network. Everything adds the bad ones, and so fills the table of the time to
// the first message. `none` is the page without the bridge's script, to compare with.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Network } from "./network.js";
import { applications } from "./parts/applications.js";
import { missingFor as missingForBrowser, names } from "./parts/browsers.js";
import { networks } from "./parts/networks.js";
import { missingFor } from "./parts/rails.js";
import { everything, needing } from "./parts/skips.js";
import { note } from "./parts/timings.js";
import { until } from "./parts/wait.js";
import { stageIn } from "./parts/stage.js";
import { pageAt } from "./parts/world.js";

const READY_MS = 30_000;
const NEWS_MS = 30_000;

const where = everything ? Object.keys(networks) : ["good"];

for (const browser of names) {
  const what = `clients in ${browser}`;
  needing(what, [...missingForBrowser(browser), ...missingFor("7.2")], () => describe(what, () => tests(browser)));
}

function tests(browserName) {
  const stage = stageIn(browserName);
  for (const network of where) {
    for (const client of Object.keys(applications)) {
      for (const road of roadsIn(network)) {
        test(`${network}: ${client}: ${road}`, { timeout: 90_000 }, () => tellsNews(stage, network, client, road));
      }
    }
  }
}

function roadsIn(network) {
  const roads = ["auto", ...networks[network].roads];
  return roads.includes("websocket") ? ["none", ...roads] : roads;
}

async function tellsNews({ world, browser }, name, client, road) {
  const network = await Network.start(world.site.port, networks[name].faults);
  const application = applications[client];
  const tab = await browser.tab();
  const room = world.room();
  world.site.taken.clear();
  try {
    await tab.open(pageAt(network.url, { client, road, room }));
    await application.subscribe(tab, room);
    await until("the page is subscribed", READY_MS, () => application.ready(tab));
    await until("the greeting", READY_MS, async () => (await application.shown(tab)).length === 1);
    note({ browser: browser.name, client, road, network: name, ms: await application.firstMessageMs(tab) });

    await application.tell(world.rails, room, "news");

    await until("the news", NEWS_MS, async () => (await application.shown(tab)).length >= 2);
    await application.tell(world.rails, room, "more");
    await until("more news", NEWS_MS, async () => (await application.shown(tab)).includes("more"));
    assert.deepEqual(await application.shown(tab), ["hello", "news", "more"]);
    if (road !== "auto") assert.deepEqual([...world.site.taken], [road === "none" ? "websocket" : road], "the road");
  } finally {
    await tab.close();
    await network.stop();
  }
}
