// Through nginx, HAProxy and Caddy, HTTP/2 on towards the browser, with README's own commands and files.
//
// tests/deploy/run makes a place in which www.example.com is up behind the proxy; behind/proxy.test.js runs in there.

import assert from "node:assert/strict";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { missingFor as missingForBrowser, names } from "./parts/browsers.js";
import { here, repository } from "./parts/places.js";
import { Program, missing } from "./parts/processes.js";
import { missingFor } from "./parts/rails.js";
import { everything, needing } from "./parts/skips.js";
import { settled } from "./parts/wait.js";

/** The port beside the application's 3000; in that place all are free. */
const RAILS_PORT = "3001";

const PATIENCE_MS = 150_000;

const programs = { nginx: "/usr/sbin/nginx", haproxy: "/usr/sbin/haproxy", caddy: "/usr/bin/caddy" };

for (const browser of everything ? names : ["chromium"]) {
  for (const [proxy, program] of Object.entries(programs)) {
    const what = `through ${proxy} in ${browser}`;
    needing(what, [...missingForBrowser(browser), ...missing(program, "/usr/bin/openssl"), ...missingFor("6.1")], () => {
      test(what, { timeout: 2 * PATIENCE_MS }, () => passes(what, proxy, browser));
    });
  }
}

// The inner run prints like any other, and is not told that it is one of ours.
async function passes(what, proxy, browser) {
  const { NODE_TEST_CONTEXT, ...inherited } = process.env;
  const env = { ...inherited, PROXY: proxy, BROWSER: browser, RAILS_PORT };
  const inner = ["node", "--test", "--test-reporter=spec", join(here, "behind/proxy.test.js")];
  const place = new Program(join(repository, "tests/deploy/run"), [proxy, "--", ...inner], { env });
  try {
    const [code] = await settled(what, PATIENCE_MS, once(place.child, "close"));
    assert.equal(code, 0);
  } catch (error) {
    throw new Error(`${error.message}\n${place.output}`);
  } finally {
    await place.kill();
  }
  console.log(place.output.split("\n").filter((line) => /^✔/.test(line)).join("\n"));
}
