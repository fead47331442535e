// Nine tabs of one browser over HTTP/1.1: it opens six connections to a host, for all tabs together, and nine streams
// would leave none for a tenth page. Over HTTP/2 all nine may stream: behind/proxy.test.js.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Browser, missingFor as missingForBrowser } from "./parts/browsers.js";
import { nineTabs } from "./parts/crowd.js";
import { missingFor } from "./parts/rails.js";
import { needing } from "./parts/skips.js";
import { World } from "./parts/world.js";

/** What the bridge's script lets itself hold open over HTTP/1.1. */
const STREAMS_MAX = 3;

const what = "nine tabs";
needing(what, [...missingForBrowser("chromium"), ...missingFor("7.2")], () => {
  describe(what, () => {
    const stage = {};
    before(async () => {
      stage.world = await World.start();
      stage.browser = await Browser.start("chromium");
    });
    after(async () => {
      for (const part of [stage.browser, stage.world]) await part?.stop();
    });
    for (const road of ["sse", "poll"]) {
      test(`HTTP/1.1, ${road}: each gets every message, a tenth page loads`, { timeout: 120_000 }, async () => {
        const { world, browser } = stage;
        const roads = await nineTabs({ rails: world.rails, browser, room: world.room() }, world.site.url, road);
        const streams = roads.filter((taken) => taken === "sse").length;
        assert.ok(streams <= STREAMS_MAX, `${streams} tabs stream: ${roads}`);
      });
    }
  });
});
