// Waiting for the thing itself, with an end.
//
// Nothing here sleeps for a guessed time: `until` asks again and again and fails with what it waited
// for. `paced` is for scripts that play a user or a server who takes his time.

import { setTimeout as later } from "node:timers/promises";

const ASK_AGAIN_MS = 25;

/** Returns the first truthy answer of `check`, or fails after `within` milliseconds. */
export async function until(what, within, check) {
  const deadline = Date.now() + within;
  for (;;) {
    const answer = await check();
    if (answer) return answer;
    if (Date.now() > deadline) throw new Error(`not within ${within} ms: ${what}`);
    await later(ASK_AGAIN_MS);
  }
}

/** Settles like `promise`, or fails after `within` milliseconds. */
export async function settled(what, within, promise) {
  const stop = new AbortController();
  const late = later(within, null, { signal: stop.signal }).then(
    () => {
      throw new Error(`not within ${within} ms: ${what}`);
    },
    () => {},
  );
  try {
    return await Promise.race([promise, late]);
  } finally {
    stop.abort();
  }
}

/** Does `step(0)` to `step(count - 1)`, one each `every` milliseconds. */
export async function paced(count, every, step) {
  const start = Date.now();
  for (let number = 0; number < count; number += 1) {
    await later(Math.max(0, start + number * every - Date.now()));
    await step(number);
  }
}
