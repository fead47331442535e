// Chrome 109, the last on Windows 7, and Chrome 66, the oldest that README claims, for real: every client is greeted and
// hears the news on every transport. Where a client's own code is too new for the browser, it is built for it with
// esbuild, as an application does that has such users; client.js comes as it is.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { applications } from "./parts/applications.js";
import { OldChromium, missingFor as missingForOld, versions } from "./parts/old-chromium.js";
import { missingFor } from "./parts/rails.js";
import { everything, needing } from "./parts/skips.js";
import { until } from "./parts/wait.js";
import { World, pageAt } from "./parts/world.js";

const READY_MS = 20_000;

const clients = ["actioncable-5.2", "actioncable-6.1", "actioncable-7.2", "actioncable-8.1", "turbo", "anycable"];

for (const version of versions) {
  const what = `old browsers: Chromium ${version}`;
  needing(what, [...missingForOld(version), ...missingFor("7.2")], () => describe(what, () => tests(version)));
}

function tests(version) {
  const stage = {};
  before(async () => {
    stage.world = await World.start();
    stage.browser = await OldChromium.start(version);
  });
  after(async () => {
    for (const part of [stage.browser, stage.world]) await part?.stop();
  });
  for (const client of clients) {
    for (const road of everything ? ["none", "auto", "sse", "poll"] : ["auto", "sse", "poll"]) {
      test(`${client}: ${road}`, { timeout: 60_000 }, () => tellsNews(stage, version, client, road));
    }
  }
}

async function tellsNews({ world, browser }, version, client, road) {
  const application = applications[client];
  const tab = await browser.tab();
  const room = world.room();
  world.site.taken.clear();
  try {
    await tab.open(`${pageAt(world.site.url, { client, road, room })}&target=chrome${version}`);
    await application.subscribe(tab, room);
    await until("it is subscribed", READY_MS, () => application.ready(tab)).catch((error) => explain(tab, error));
    await until("the greeting", READY_MS, async () => (await application.shown(tab)).length === 1);
    await application.tell(world.rails, room, "news");
    await until("the news", READY_MS, async () => (await application.shown(tab)).includes("news"));
    assert.deepEqual(await application.shown(tab), ["hello", "news"]);
    const transport = { none: "websocket", auto: "websocket" }[road] ?? road;
    assert.deepEqual([...world.site.taken], [transport]);
  } finally {
    await tab.close();
  }
}

function explain(tab, error) {
  throw new Error([error.message, ...tab.console.slice(-10)].join("\n"));
}
