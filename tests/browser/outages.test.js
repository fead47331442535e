// The bridge is upgraded behind each proxy, and one of two is killed: behind/outages.test.js, under traffic.

import { test } from "node:test";
import { missingForProxy, passes, proxies } from "./parts/behind.js";
import { missingFor as missingForBrowser } from "./parts/browsers.js";
import { missingFor } from "./parts/rails.js";
import { REDIS_PORT, missingForRedis } from "./parts/redis.js";
import { needing } from "./parts/skips.js";

const PATIENCE_MS = 240_000;
const REDIS = { CABLE_ADAPTER: "redis", REDIS_URL: `redis://127.0.0.1:${REDIS_PORT}/0` };

for (const proxy of proxies) {
  const what = `outages behind ${proxy}`;
  needing(what, [...missingForBrowser("chromium"), ...missingForProxy(proxy), ...missingFor("6.1"), ...missingForRedis()], () => {
    test(what, { timeout: 2 * PATIENCE_MS }, () => passes("outages.test.js", proxy, REDIS, PATIENCE_MS));
  });
}
