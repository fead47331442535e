// A browser that lacks something: for each global and each method that client.js uses, one by one, a page in a browser
// without it is greeted and answered, over a transport of the bridge or natively. The names are found in its text.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Browser, missingFor as missingForBrowser } from "./parts/browsers.js";
import { missingFor } from "./parts/rails.js";
import { needing } from "./parts/skips.js";
import { usedNames } from "./parts/used-names.js";
import { World } from "./parts/world.js";

const TABS = 4;
const PATIENCE_MS = 4_000;
const ROADS = ["auto", "sse", "poll"];

const what = "a browser that lacks something";
needing(what, [...missingForBrowser("chromium"), ...missingFor("7.2")], () => {
  describe(what, () => {
    const stage = {};
    before(async () => {
      stage.world = await World.start();
      stage.browser = await Browser.start("chromium");
    });
    after(async () => {
      for (const part of [stage.browser, stage.world]) await part?.stop();
    });
    test("each name that client.js uses is deleted once", { timeout: 600_000 }, () => eachOnce(stage));
  });
});

async function eachOnce({ world, browser }) {
  const source = await (await fetch(`${world.site.url}/bridge/-/client.js`)).text();
  const tabs = await Promise.all(Array.from({ length: TABS }, () => browser.tab()));
  await Promise.all(tabs.map((tab) => tab.open(`${world.site.url}/pages/left.html`)));
  const names = (await tabs[0].run(definedHere, usedNames(source))).filter((name) => !process.env.NAMES || process.env.NAMES.split(",").includes(name));
  assert.ok(process.env.NAMES || names.length > 60, `only ${names}`);

  const left = [...names];
  const bad = {};
  const dead = [];
  const work = async (tab) => {
    for (let name; (name = left.pop()); ) {
      const { broken, natively } = await tab.run(worksWithout, name, ROADS, PATIENCE_MS);
      if (!natively) dead.push(name);
      else if (broken.length > 0) bad[name] = broken;
    }
  };
  await Promise.all(tabs.map(work));

  console.log(`${names.length} names were deleted, one by one; without these no page works at all: ${dead.join(" ")}`);
  assert.ok(dead.length < names.length / 3, "ActionCable itself does without most of them");
  assert.deepEqual(bad, {}, "without these names the page works natively, and not with the tag");
}

/** In the page: those of the names that are a global or a method here, or the body that can be read, and can be deleted. */
function definedHere(names) {
  const objects = Object.getOwnPropertyNames(self).filter((key) => key !== "webkitStorageInfo").map((key) => self[key]);
  const places = objects.filter((one) => one && /^(function|object)$/.test(typeof one)).flatMap((one) => [one, one.prototype]);
  const own = (place, name) => place && Object.getOwnPropertyDescriptor(place, name)?.configurable;
  const method = (place, name) => own(place, name) && (name === "body" || typeof Object.getOwnPropertyDescriptor(place, name).value === "function");
  return names.filter((name) => own(self, name) || places.some((place) => place !== self && method(place, name)));
}

/** In the page: the roads on which a page without this name does not work, and whether it does natively. */
async function worksWithout(name, roads, patience) {
  const works = async (road) => {
    sessionStorage.clear();
    localStorage.clear();
    const frame = document.createElement("iframe");
    frame.src = `/page?${new URLSearchParams({ road, without: name })}`;
    await new Promise((resolve) => {
      frame.onload = resolve;
      document.body.append(frame);
    });
    try {
      const { chat } = frame.contentWindow;
      chat.subscribe("chat", `${name}-${road}-${Math.random()}`);
      const until = Date.now() + patience;
      const told = (callback, times) => chat.transcript.filter((entry) => entry[1] === callback).length >= times;
      const wait = async (...what) => {
        while (!told(...what)) {
          if (Date.now() > until) throw new Error("too late");
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
      };
      await wait("connected", 1);
      chat.perform("chat", "speak", { text: "hi" });
      await wait("received", 2);
      return true;
    } catch {
      return false;
    } finally {
      frame.remove();
    }
  };
  const broken = [];
  for (const road of roads) {
    if (await works(road)) continue;
    broken.push(road);
    // Without a WebSocket the bridge is all there is.
    if (broken.length === 1 && name !== "WebSocket" && !(await works("none"))) return { broken, natively: false };
  }
  return { broken, natively: true };
}
