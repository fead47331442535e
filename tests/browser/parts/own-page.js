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
  assert.match(await tab.run(() => document.getElementById("used").textContent), SAYS[road]);
}

/** The second pane: a plain EventSource on the URL that it makes, as it is and raw. */
export async function useOneGet(tab, identifier, comes) {
  for (const raw of [false, true]) {
    await tab.run(fillIn, identifier, raw);
    const shown = (text) => document.getElementById("get-log").textContent.includes(text);
    await tab.until("the channel is connected", PATIENCE_MS, shown, raw ? "connected: {" : '"type":"connected"');
    await tab.until(`${comes} comes`, PATIENCE_MS, shown, raw ? comes : JSON.stringify(comes).slice(1, -1));
    assert.equal(await tab.run(() => document.getElementById("get-state").textContent), "open");
  }
  const curl = await tab.run(() => document.getElementById("get-curl").textContent);
  assert.match(curl, /^curl -N -H 'Accept: text\/event-stream' 'http:[^']+\?(channel|identifier)=[^']+&raw=1'$/);
  return curl;
}

function fillIn(identifier, raw) {
  const [field, tick] = ["get-identifier", "get-raw"].map((id) => document.getElementById(id));
  document.getElementById("get-clear").click();
  field.value = identifier;
  tick.checked = raw;
  for (const one of [field, tick]) one.dispatchEvent(new Event("input"));
  document.getElementById("get-open").click();
}
