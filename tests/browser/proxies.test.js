// Through nginx, HAProxy and Caddy as the README sets them up, HTTP/2 on: every road carries the scenario.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Browser, missingFor as missingForBrowser } from "./parts/browsers.js";
import { Proxy, missingFor as missingForProxy, names } from "./parts/proxies.js";
import { missingFor } from "./parts/rails.js";
import { everything, needing } from "./parts/skips.js";
import { note } from "./parts/timings.js";
import { World, pageAt } from "./parts/world.js";
import { perform, subscribed, told } from "./scenarios.js";

const CLIENT = "actioncable-8.1";
const ROADS = ["auto", "websocket", "sse", "poll"];

for (const browser of everything ? ["chromium", "firefox"] : ["chromium"]) {
  for (const name of names) {
    const what = `through ${name} in ${browser}`;
    needing(what, [...missingForBrowser(browser), ...missingForProxy(name), ...missingFor("7.2")], () => {
      describe(what, () => tests(browser, name));
    });
  }
}

function tests(browserName, name) {
  const stage = {};
  before(async () => {
    stage.world = await World.start();
    const { site, bridge } = stage.world;
    stage.proxy = await Proxy.start(name, { application: site.port, bridge: new URL(bridge.url).port });
    stage.browser = await Browser.start(browserName, { acceptInsecureCerts: true });
  });
  after(async () => {
    for (const part of [stage.browser, stage.proxy, stage.world]) await part?.stop();
  });
  for (const road of ROADS) test(road, { timeout: 60_000 }, () => carries(stage, name, road));
}

async function carries({ world, proxy, browser }, name, road) {
  const tab = await browser.tab();
  await tab.open(pageAt(proxy.url, { client: CLIENT, road }));
  await subscribed(tab, world.room());
  note({ browser: browser.name, client: CLIENT, road, network: name, ms: await tab.run(() => window.chat.firstMessageMs) });

  await perform(tab, "chat", "speak", { text: "hi" });
  await told(tab, "chat", "received", 2);
  await perform(tab, "chat", "burst", { count: 500 });
  await told(tab, "chat", "received", 502);

  const { numbers, protocols, transport } = await tab.run(() => ({
    numbers: window.chat.values("chat", "number"),
    protocols: performance.getEntries().map((entry) => entry.nextHopProtocol).filter(Boolean),
    transport: window.chat.consumer.connection.webSocket.transport,
  }));
  assert.deepEqual(numbers, Array.from({ length: 500 }, (_, number) => number + 1));
  assert.deepEqual([...new Set(protocols)], ["h2"], "what the page came by");
  assert.equal(transport, road === "auto" ? "websocket" : road);
  await tab.close();
}
