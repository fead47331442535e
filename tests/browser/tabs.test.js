// Nine tabs of one browser: each gets every message, and the application itself still loads.
//
// Over HTTP/1.1 a browser opens six connections to a host, for all tabs together: nine streams would leave none
// for a tenth page. Over HTTP/2 all nine may stream.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Browser, missingFor as missingForBrowser } from "./parts/browsers.js";
import { Proxy, missingFor as missingForProxy } from "./parts/proxies.js";
import { missingFor } from "./parts/rails.js";
import { needing } from "./parts/skips.js";
import { paced } from "./parts/wait.js";
import { World, pageAt } from "./parts/world.js";
import { subscribed } from "./scenarios.js";

const TABS = 9;
const MESSAGES = 20;
const EVERY_MS = 100;
const ARRIVED_MS = 20_000;
const LOADED_MS = 2_000;
/** What the bridge's script lets itself hold open over HTTP/1.1. */
const STREAMS_MAX = 3;

const what = "nine tabs";
needing(what, [...missingForBrowser("chromium"), ...missingForProxy("caddy"), ...missingFor("7.2")], () => {
  describe(what, () => {
    const stage = {};
    before(async () => {
      stage.world = await World.start();
      const { site, bridge } = stage.world;
      stage.proxy = await Proxy.start("caddy", { application: site.port, bridge: new URL(bridge.url).port });
      stage.browser = await Browser.start("chromium", { acceptInsecureCerts: true });
    });
    after(async () => {
      for (const part of [stage.browser, stage.proxy, stage.world]) await part?.stop();
    });
    for (const road of ["sse", "poll"]) {
      test(`HTTP/1.1, ${road}: each gets every message, a tenth page loads`, { timeout: 120_000 }, async () => {
        const roads = await nineTabs(stage, stage.world.site.url, road);
        const streams = roads.filter((taken) => taken === "sse").length;
        assert.ok(streams <= STREAMS_MAX, `${streams} tabs stream: ${roads}`);
      });
    }
    test("HTTP/2: nine streams", { timeout: 120_000 }, async () => {
      const roads = await nineTabs(stage, stage.proxy.url, "sse");
      assert.deepEqual(roads, Array(TABS).fill("sse"));
    });
  });
});

async function nineTabs({ world, browser }, url, road) {
  const room = world.room();
  const tabs = [];
  for (let number = 0; number < TABS; number += 1) {
    const tab = await browser.tab();
    tabs.push(tab);
    await tab.open(pageAt(url, { road }));
    await subscribed(tab, room);
  }
  const texts = Array.from({ length: MESSAGES }, (_, number) => `message ${number}`);
  const sending = paced(MESSAGES, EVERY_MS, (number) => world.rails.broadcast(room, texts[number]));
  const loaded = await tenthPage(browser, url, road);
  await sending;
  for (const tab of tabs) await tab.until(`${MESSAGES} messages`, ARRIVED_MS, received, MESSAGES);

  // Rails does not keep the order of broadcasts.
  for (const tab of tabs) assert.deepEqual((await tab.run(texted)).sort(), [...texts].sort());
  assert.ok(loaded < LOADED_MS, `the tenth page took ${loaded} ms`);
  const roads = await Promise.all(tabs.map((tab) => tab.run(() => window.chat.consumer.connection.webSocket.transport)));
  await Promise.all(tabs.map((tab) => tab.close()));
  return roads;
}

async function tenthPage(browser, url, road) {
  const tab = await browser.tab();
  const began = Date.now();
  await tab.open(pageAt(url, { road, room: "tenth" }));
  const took = Date.now() - began;
  await tab.close();
  return took;
}

const texted = () => window.chat.values("chat", "text");
const received = (count) => window.chat.values("chat", "text").length >= count;
