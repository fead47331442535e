// One GET: Turbo's `<turbo-stream-source>` and plain EventSources with channels in their URL, without client.js.
//
// They come back by themselves, whatever restarts, and nothing is lost or shown twice.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as later } from "node:timers/promises";
import { Network } from "./network.js";
import { Bridge } from "./parts/bridge.js";
import { Browser, missingFor as missingForBrowser, names } from "./parts/browsers.js";
import { Cable } from "./parts/cable.js";
import { missingFor, versions } from "./parts/rails.js";
import { everything, needing } from "./parts/skips.js";
import { until } from "./parts/wait.js";
import { WebKit, missingForWebKit } from "./parts/webkit.js";
import { World, pageAt } from "./parts/world.js";
import { Site } from "./site.js";

const SHOWN_MS = 15_000;
const CUT_MS = 5_000;
/** So soon after a restart there are news again; a busy machine may need the rest. */
const NEWS_MS = 5_000 + 3_000;
const TELL_EACH_MS = 100;
const RESUME_WINDOW_MS = 500;
const LEFT_MS = 1_000 + RESUME_WINDOW_MS;

/** A page, how a test makes news for it, and the texts that it has shown. */
const pages = {
  "turbo-source": {
    tell: (rails, room, text) => rails.broadcastTurbo(room, text),
    shown: (tab) => tab.run(() => window.turbo.messages()),
  },
  "own-post": {
    tell: (rails, room, text) => rails.broadcast(room, text),
    shown: (tab) => tab.run(() => window.shown),
  },
  "own-get": {
    tell: (rails, room, text) => rails.broadcast(room, text),
    shown: (tab) => tab.run(() => window.shown),
  },
};

const missingFrom = (browser) => (browser === "webkit" ? missingForWebKit() : missingForBrowser(browser));
const start = (browser) => (browser === "webkit" ? WebKit.start() : Browser.start(browser));

for (const browser of everything ? [...names, "webkit"] : ["chromium"]) {
  for (const version of everything ? versions : ["7.2"]) {
    const what = `one GET in ${browser}, Rails ${version}`;
    needing(what, [...missingFrom(browser), ...missingFor(version)], () => describe(what, () => tests(browser, version)));
  }
  const what = `a large raw message in ${browser}`;
  needing(what, missingFrom(browser), () => test(what, { timeout: 60_000 }, () => comesWhole(browser)));
}

function tests(browserName, version) {
  const stage = {};
  before(async () => {
    stage.world = await World.start(version);
    stage.browser = await start(browserName);
  });
  after(async () => {
    await stage.browser?.stop();
    await stage.world?.stop();
  });
  for (const client of everything ? Object.keys(pages) : ["turbo-source"]) {
    test(`${client}: nothing is lost over a cut of 5 s`, { timeout: 60_000 }, () => losesNothing(stage, client));
  }
  for (const client of Object.keys(pages)) {
    for (const part of everything || client === "turbo-source" ? ["rails", "bridge"] : ["bridge"]) {
      test(`${client}: news again after the ${part} was killed`, { timeout: 90_000 }, () => hearsAgain(stage, client, part));
    }
  }
  test("own-post: what it says comes back", { timeout: 30_000 }, () => says(stage));
  test("a visit of Turbo closes the stream and its session", { timeout: 30_000 }, () => leaves(stage));
}

/** Opens the page in a tab, and returns when it shows that the room has greeted it. */
async function opened({ browser }, url, client, room) {
  const tab = await browser.tab();
  await tab.open(pageAt(url, { client, room }));
  await until("the greeting", SHOWN_MS, async () => (await pages[client].shown(tab)).includes("hello"));
  return tab;
}

const news = async (client, tab) => (await pages[client].shown(tab)).filter((text) => text !== "hello");

async function losesNothing({ world, browser }, client) {
  const network = await Network.start(world.site.port);
  const room = world.room();
  const tab = await opened({ browser }, network.url, client, room);
  const sent = [];
  const say = (text) => (sent.push(text), pages[client].tell(world.rails, room, text));

  await say("before");
  await until("the first", SHOWN_MS, async () => (await news(client, tab)).length === 1);
  const out = network.drop(CUT_MS);
  for (let number = 1; number <= 5; number += 1) {
    await say(`meanwhile ${number}`);
    // Rails hands broadcasts to a pool of threads: at once they would overtake each other.
    await later(CUT_MS / 10);
  }
  await out;
  await say("after");

  await until("the last", SHOWN_MS, async () => (await news(client, tab)).includes("after"));
  assert.deepEqual(await news(client, tab), sent);
  await tab.close();
  await network.stop();
}

async function hearsAgain({ world, browser }, client, part) {
  const room = world.room();
  const tab = await opened({ browser }, world.site.url, client, room);
  let number = 0;
  const hears = async () => {
    // What is said before the page is subscribed again is for nobody: that is ActionCable's promise, and no more.
    await pages[client].tell(world.rails, room, `news ${(number += 1)}`);
    await later(TELL_EACH_MS);
    return (await news(client, tab)).length > 0;
  };

  await world[part].kill();
  await world[part].startAgain();
  await until(`news after the ${part} is back`, NEWS_MS, hears);

  await pages[client].tell(world.rails, room, "the last");
  await until("the last", SHOWN_MS, async () => (await news(client, tab)).includes("the last"));
  const shown = await news(client, tab);
  assert.equal(new Set(shown).size, shown.length, `twice: ${shown}`);
  await tab.close();
}

async function says({ world, browser }) {
  const tab = await opened({ browser }, world.site.url, "own-post", world.room());
  assert.equal(await tab.run(() => window.say("hi").then((answer) => answer.status)), 200);
  await until("what it said", SHOWN_MS, async () => (await news("own-post", tab)).includes("hi"));
  await tab.close();
}

async function leaves({ world, browser }) {
  const bridge = await Bridge.start("-s", `ws://127.0.0.1:${world.rails.port}/cable`, "--resume-window", `${RESUME_WINDOW_MS}ms`);
  const site = await Site.start({ rails: world.rails, bridge });
  const room = world.room();
  const tab = await opened({ browser }, site.url, "turbo-source", room);
  const others = (await world.rails.connections()) - 1;

  await tab.run((url) => window.Turbo.visit(url), pageAt(site.url, { client: "turbo-left" }));
  await tab.until("the visit", SHOWN_MS, () => document.getElementById("left") !== null);
  await until("the session has ended", LEFT_MS, async () => (await world.rails.connections()) <= others);

  await tab.close();
  await site.stop();
  await bridge.stop();
}

/** All line breaks that there are, what JSON escapes, half of a pair on either side, and much of it. */
const PIECE = String.raw`<p title=\"\u2028\u2029\u0085\u000b\f\"> a\rb\nc\r\nd\n\r\u0000\ud800x\udc00\ud83d\ude00é\/</p>`;
const PIECES = Math.ceil((1024 * 1024) / PIECE.length);

async function comesWhole(browserName) {
  const cable = await Cable.start();
  const bridge = await Bridge.start("-s", cable.url, "--max-queue-bytes", "4194304");
  const browser = await start(browserName);
  const site = await Site.start({ rails: { url: bridge.url }, bridge });
  try {
    const tab = await browser.tab();
    await tab.open(`${site.url}/page?client=turbo-left`);
    await tab.run(() => {
      window.came = [];
      new EventSource(`/bridge/${crypto.randomUUID()}?channel=C&raw=1`).onmessage = ({ data }) => window.came.push(data);
    });
    await until("the channel is subscribed", SHOWN_MS, () => cable.subscribed === 1);
    cable.message(`"${PIECE.repeat(PIECES)}"`);
    await tab.until("the message", SHOWN_MS, () => window.came.length === 1);

    // What the HTML standard makes of it: each line break is one LF, half a pair is U+FFFD.
    const read = JSON.parse(`"${PIECE}"`).replaceAll(/\r\n|\r/g, "\n").toWellFormed();
    // Firefox leaves a NUL out of every event stream, and so does HTML's parser of a text.
    const wanted = (browserName === "firefox" ? read.replaceAll("\0", "") : read).repeat(PIECES);
    assert.equal(await tab.run(() => window.came[0].length), wanted.length);
    assert.equal(await tab.run((wanted) => window.came[0] === wanted.piece.repeat(wanted.count), { piece: wanted.slice(0, wanted.length / PIECES), count: PIECES }), true);
    await tab.close();
  } finally {
    await browser.stop();
    await site.stop();
    await bridge.stop();
    await cable.stop();
  }
}
