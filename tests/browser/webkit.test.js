// One scenario for each road in WebKitGTK too: it is the engine of every iPhone.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Network } from "./network.js";
import { networks } from "./parts/networks.js";
import { missingFor } from "./parts/rails.js";
import { needing } from "./parts/skips.js";
import { note } from "./parts/timings.js";
import { WebKit, missingForWebKit } from "./parts/webkit.js";
import { World, pageAt } from "./parts/world.js";
import { perform, subscribed, told } from "./scenarios.js";

const CLIENT = "actioncable-8.1";
const MESSAGES = 500;

const cases = [
  ["good", "none", "websocket"],
  ["good", "auto", "websocket"],
  ["good", "websocket", "websocket"],
  ["good", "sse", "sse"],
  ["good", "poll", "poll"],
  ["no upgrade", "auto", "sse"],
  ["no upgrade, buffer", "auto", "poll"],
];

const what = "WebKitGTK";
needing(what, [...missingForWebKit(), ...missingFor("7.2")], () => {
  describe(what, () => {
    const stage = {};
    before(async () => {
      stage.world = await World.start();
      stage.browser = await WebKit.start();
    });
    after(async () => {
      await stage.browser?.stop();
      await stage.world?.stop();
    });
    for (const [network, road, taken] of cases) {
      test(`${network}: ${road}`, { timeout: 90_000 }, () => carries(stage, network, road, taken));
    }
  });
});

async function carries({ world, browser }, name, road, taken) {
  const network = await Network.start(world.site.port, networks[name].faults);
  const tab = await browser.tab();
  try {
    await tab.open(pageAt(network.url, { client: CLIENT, road }));
    await subscribed(tab, world.room());
    note({ browser: browser.name, client: CLIENT, road, network: name, ms: await tab.run(() => window.chat.firstMessageMs) });

    await perform(tab, "chat", "speak", { text: "hi" });
    await told(tab, "chat", "received", 2);
    await perform(tab, "chat", "burst", { count: MESSAGES });
    await told(tab, "chat", "received", MESSAGES + 2);

    const numbers = await tab.run(() => window.chat.values("chat", "number"));
    assert.deepEqual(numbers, Array.from({ length: MESSAGES }, (_, number) => number + 1));
    const transport = await tab.run(() => window.chat.consumer.connection.webSocket.transport);
    assert.equal(transport ?? "websocket", taken);
  } finally {
    await tab.close();
    await network.stop();
  }
}
