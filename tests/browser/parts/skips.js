// A test that cannot run says so aloud, and is a failure where everything has to be there.

import { test } from "node:test";

/** Registers the tests of `body`, or, where something is missing, one that says what. */
export function needing(what, missing, body) {
  if (missing.length === 0) return body();
  test(what, (context) => {
    const why = `missing: ${missing.join(", ")}; run tests/browser/run, which installs it`;
    if (process.env.CI === "true") throw new Error(why);
    console.error(`SKIPPED ${what}: ${why}`);
    context.skip(why);
  });
}

/** The quick subset is what runs unless the runner was asked for everything. */
export const everything = process.env.BROWSER_TESTS === "all";
