// The bridge's own page `/-/`, used as a person does: connect, subscribe, send, and read what comes.

import assert from "node:assert/strict";

const PATIENCE_MS = 15_000;
const SAYS = { websocket: /websocket/i, sse: /server-sent events/i, poll: /long poll/i };
/** Rails takes commands in any order, so each waits for the answer to the one before. What is sent has its quotes escaped. */
const STEPS = { connect: "welcome", subscribe: "confirm_subscription", send: '"text":"hello"' };

/** The tab is on the page already. */
export async function useOwnPage(tab, road) {
  await tab.run((road) => (document.getElementById("transport").value = road), road);
  for (const [button, answer] of Object.entries(STEPS)) {
    await tab.until(`${button} can be pressed`, PATIENCE_MS, (id) => !document.getElementById(id).disabled, button);
    await tab.run((id) => document.getElementById(id).click(), button);
    const shown = (text) => document.getElementById("log").textContent.includes(text);
    await tab.until(`${answer} comes`, PATIENCE_MS, shown, answer);
  }
  assert.match(await tab.run(() => document.getElementById("road").textContent), SAYS[road]);
}
