// Through nginx, HAProxy and Caddy, HTTP/2 on towards the browser, with README's own commands and files.
//
// tests/deploy/run makes a place in which www.example.com is up behind the proxy; behind/proxy.test.js runs in there.

import { test } from "node:test";
import { missingForProxy, passes, proxies } from "./parts/behind.js";
import { missingFor as missingForBrowser, names } from "./parts/browsers.js";
import { missingFor } from "./parts/rails.js";
import { everything, needing } from "./parts/skips.js";

const PATIENCE_MS = 150_000;

for (const browser of everything ? names : ["chromium"]) {
  for (const proxy of proxies) {
    const what = `through ${proxy} in ${browser}`;
    needing(what, [...missingForBrowser(browser), ...missingForProxy(proxy), ...missingFor("6.1")], () => {
      test(what, { timeout: 2 * PATIENCE_MS }, () => passes("proxy.test.js", proxy, { BROWSER: browser }, PATIENCE_MS));
    });
  }
}
