// What the tests of one browser share: the browser, and everything behind it.

import { after, before } from "node:test";

import { Browser } from "./browsers.js";
import { World } from "./world.js";

/** To be called where tests are described: both are there before the first of them, and go after the last. */
export function stageIn(browserName, start = () => Browser.start(browserName)) {
  const stage = {};
  before(async () => {
    stage.world = await World.start();
    stage.browser = await start();
  });
  after(async () => {
    await stage.browser?.stop();
    await stage.world?.stop();
  });
  return stage;
}
