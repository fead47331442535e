// A page that is closed or left ends its session at once: Rails, and whoever watches who is there, sees it within a second.
// So does that of its Worker, where the page does for it what README says: no Worker is told that its page goes.

import { describe, test } from "node:test";
import { missingFor as missingForBrowser, names } from "./parts/browsers.js";
import { missingFor } from "./parts/rails.js";
import { needing } from "./parts/skips.js";
import { until } from "./parts/wait.js";
import { stageIn } from "./parts/stage.js";
import { pageAt } from "./parts/world.js";

/** A second, and what a busy machine adds. */
const GONE_MS = 2_000;
const OPEN_MS = 15_000;

const ways = {
  "closing the tab": () => window.page.close(),
  "leaving the page": () => void (window.page.location = "/pages/left.html?next"),
  "loading it again": () => window.page.location.reload(),
};

for (const browser of names) {
  const what = `leaving in ${browser}`;
  needing(what, [...missingForBrowser(browser), ...missingFor("7.2")], () => describe(what, () => tests(browser)));
}

function tests(browserName) {
  const stage = stageIn(browserName);
  for (const way of Object.keys(ways)) {
    for (const road of ["sse", "poll"]) {
      test(`${way}: ${road}`, { timeout: 60_000 }, () => ends(stage, road, ways[way], subscribes));
    }
    test(`${way}: a Worker`, { timeout: 60_000 }, () => ends(stage, "none", ways[way], startsWorker));
  }
}

// A page that another one opened: closed by its driver Firefox ends its scripts too, which a user's hand does not.
async function ends({ world, browser }, road, leave, begins) {
  const ended = () => world.bridge.log.match(/event=session-ended .*reason="deleted"/g)?.length ?? 0;
  const tab = await browser.tab();
  await tab.open(`${world.site.url}/pages/left.html`);
  await tab.run((url) => void (window.page = window.open(url)), pageAt(world.site.url, { road }));
  await tab.until("the page is there", OPEN_MS, () => window.page.document.readyState === "complete" && window.page.chat);
  await begins(tab, world);
  const before = ended();

  await tab.run(leave);

  await until("the session has ended", GONE_MS, () => ended() > before);
  await tab.run(() => window.page.close());
  await tab.close();
}

async function subscribes(tab, world) {
  await tab.run((room) => window.page.chat.subscribe("chat", room), world.room());
  await tab.until("it is subscribed", OPEN_MS, () => window.page.chat.count("chat", "connected") === 1);
}

async function startsWorker(tab) {
  await tab.run(() => window.page.eval(`
    const worker = new Worker("/pages/worker.js");
    worker.onmessage = ({ data: [, , session] }) => {
      worker.onmessage = null;
      addEventListener("pagehide", () => fetch(session, { method: "DELETE", keepalive: true }));
      window.heard = true;
    };
  `));
  await tab.until("the Worker's socket is open", OPEN_MS, () => window.page.heard);
}
