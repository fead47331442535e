// Runs a file of tests in the place that tests/deploy/run makes: www.example.com is up in there, behind a proxy that
// README's own commands have set up.

import assert from "node:assert/strict";
import { once } from "node:events";
import { join } from "node:path";
import { here, repository } from "./places.js";
import { Program, missing } from "./processes.js";
import { settled } from "./wait.js";

/** The port beside the application's 3000; in that place all are free. */
const RAILS_PORT = "3001";

const programs = { nginx: "/usr/sbin/nginx", haproxy: "/usr/sbin/haproxy", caddy: "/usr/bin/caddy" };

export const proxies = Object.keys(programs);

/** What this proxy needs and is not there. */
export function missingForProxy(name) {
  return missing(programs[name], "/usr/bin/openssl");
}

/** Runs behind/`file` behind this proxy, with `more` in its environment; fails with what it printed. */
export async function passes(file, proxy, more, within) {
  // The inner run prints like any other, and is not told that it is one of ours.
  const { NODE_TEST_CONTEXT, ...inherited } = process.env;
  const env = { ...inherited, PROXY: proxy, RAILS_PORT, ...more };
  const inner = ["node", "--test", "--test-reporter=spec", join(here, "behind", file)];
  const place = new Program(join(repository, "tests/deploy/run"), [proxy, "--", ...inner], { env });
  try {
    const [code] = await settled(`${file} behind ${proxy}`, within, once(place.child, "close"));
    assert.equal(code, 0);
  } catch (error) {
    throw new Error(`${error.message}\n${place.output}`);
  } finally {
    await place.kill();
  }
  console.log(place.output.split("\n").filter((line) => /^(✔|back after)/.test(line)).join("\n"));
}
