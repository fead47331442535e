// The page that README says to open, used as a person does, in a real browser: each road says what it sent.
//
// Its arguments are the page's address and a cookie. Chromium and puppeteer-core are those of tests/browser.

import assert from "node:assert/strict";
import { Browser } from "../browser/parts/browsers.js";

const PATIENCE_MS = 15_000;
const ROADS = { websocket: /websocket/i, sse: /server-sent events/i, poll: /long poll/i };

const [address, cookie] = process.argv.slice(2);
const browser = await Browser.start("chromium", { acceptInsecureCerts: true });
try {
  for (const road of Object.keys(ROADS)) await works(await browser.tab(), road);
} finally {
  await browser.stop();
}

async function works(tab, road) {
  await tab.open(address);
  await tab.run((cookie) => (document.cookie = `${cookie}; Path=/`), cookie);
  await tab.run((road) => (document.getElementById("transport").value = road), road);
  // Rails takes commands in any order: a message waits for the confirmation, as a person would.
  for (const [button, answer] of [["connect", "welcome"], ["subscribe", "confirm_subscription"], ["send", '"from":"ada"']]) {
    await tab.until(`${button} can be pressed`, PATIENCE_MS, (id) => !document.getElementById(id).disabled, button);
    await tab.run((id) => document.getElementById(id).click(), button);
    const shown = (text) => document.getElementById("log").textContent.includes(text);
    await tab.until(`${answer} comes`, PATIENCE_MS, shown, answer);
  }
  assert.match(await tab.run(() => document.getElementById("road").textContent), ROADS[road]);
  assert.deepEqual(tab.console, []);
  console.log(`the page works by ${road}`);
}
