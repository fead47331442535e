// Nine tabs of one browser: each gets every message, and the application itself still loads.

import assert from "node:assert/strict";
import { pageAt } from "./world.js";
import { paced } from "./wait.js";
import { subscribed } from "../scenarios.js";

export const TABS = 9;
const MESSAGES = 20;
const EVERY_MS = 100;
const ARRIVED_MS = 20_000;
const LOADED_MS = 2_000;

/** Returns the road of each. */
export async function nineTabs({ rails, browser, room }, url, road) {
  const tabs = [];
  for (let number = 0; number < TABS; number += 1) {
    const tab = await browser.tab();
    tabs.push(tab);
    await tab.open(pageAt(url, { road }));
    await subscribed(tab, room);
  }
  const texts = Array.from({ length: MESSAGES }, (_, number) => `message ${number}`);
  const sending = paced(MESSAGES, EVERY_MS, (number) => rails.broadcast(room, texts[number]));
  const loaded = await tenthPage(browser, url, road);
  await sending;
  for (const tab of tabs) await tab.until(`${MESSAGES} messages`, ARRIVED_MS, received, MESSAGES);

  // Rails does not keep the order of broadcasts.
  for (const tab of tabs) assert.deepEqual((await tab.run(texted)).sort(), [...texts].sort());
  assert.ok(loaded < LOADED_MS, `the tenth page took ${loaded} ms`);
  const roads = await Promise.all(tabs.map((tab) => tab.run(() => window.chat.consumer.connection.webSocket.transport)));
  await Promise.all(tabs.map((tab) => tab.close()));
  return roads;
}

async function tenthPage(browser, url, road) {
  const tab = await browser.tab();
  const began = Date.now();
  await tab.open(pageAt(url, { road, room: "tenth" }));
  const took = Date.now() - began;
  await tab.close();
  return took;
}

const texted = () => window.chat.values("chat", "text");
const received = (count) => window.chat.values("chat", "text").length >= count;
