// The bridge's own page `/-/`, and a page of an application: nothing on their consoles.
//
// Screenshots of `/-/` in both colour schemes go to SCREENSHOTS, or a new folder that is named at the end.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { applications, openGreeted } from "./parts/applications.js";
import { Bridge } from "./parts/bridge.js";
import { Browser, missingFor as missingForBrowser, names } from "./parts/browsers.js";
import { useOneGet, useOwnPage } from "./parts/own-page.js";
import { missingFor } from "./parts/rails.js";
import { needing } from "./parts/skips.js";
import { stageIn } from "./parts/stage.js";

const SIZES = { wide: { width: 1100, height: 800 }, narrow: { width: 360, height: 740 } };

const folder = process.env.SCREENSHOTS ?? mkdtempSync(join(tmpdir(), "screenshots-"));
mkdirSync(folder, { recursive: true });
after(() => console.log(`screenshots: ${folder}`));

for (const browser of names) {
  needing(`the page /-/ in ${browser}`, missingForBrowser(browser), () => {
    describe(`the page /-/ in ${browser}`, () => ownPage(browser));
  });
  needing(`an application's page in ${browser}`, [...missingForBrowser(browser), ...missingFor("7.2")], () => {
    describe(`an application's page in ${browser}`, () => applicationPage(browser));
  });
}

function ownPage(browserName) {
  let bridge;
  before(async () => {
    bridge = await Bridge.start("--demo");
  });
  after(() => bridge?.stop());

  for (const scheme of ["light", "dark"]) {
    test(`opens in ${scheme} without a word on the console`, { timeout: 60_000 }, async () => {
      const browser = await Browser.start(browserName, { scheme });
      try {
        await looksRight(await browser.tab(), `${bridge.url}/-/`, `${browserName}-${scheme}`);
      } finally {
        await browser.stop();
      }
    });
  }
  test("one GET: with --demo, raw or not", { timeout: 60_000 }, async () => {
    const browser = await Browser.start(browserName);
    try {
      await oneGet(await browser.tab(), `${bridge.url}/-/`, browserName);
    } finally {
      await browser.stop();
    }
  });
  for (const road of ["sse", "poll"]) {
    test(`works at once with --demo: ${road}`, { timeout: 60_000 }, async () => {
      const browser = await Browser.start(browserName);
      try {
        await works(await browser.tab(), `${bridge.url}/-/`, road, browserName);
      } finally {
        await browser.stop();
      }
    });
  }
}

const MARKUP = '<turbo-stream action="update" target="clock">';

/** What the pane says to type does what the pane does. */
async function oneGet(tab, url, name) {
  await tab.open(url);
  const curl = await useOneGet(tab, `{"channel":"Turbo::StreamsChannel","signed_stream_name":"it's %41"}`, MARKUP);
  await tab.screenshot(join(folder, `${name}-get-used.png`), SIZES.wide);
  assert.deepEqual(tab.console, []);
  await tab.run(() => document.getElementById("get-close").click());

  const shell = spawn("timeout", ["10", "sh", "-c", curl], { stdio: ["ignore", "pipe", "ignore"] });
  let came = "";
  shell.stdout.on("data", (bytes) => (came += bytes) && came.includes(MARKUP) && shell.kill());
  await once(shell, "close");
  assert.ok(came.includes(`data: ${MARKUP}`), came);
}

async function works(tab, url, road, name) {
  await tab.open(url);
  await useOwnPage(tab, road);
  await tab.screenshot(join(folder, `${name}-${road}-used.png`), SIZES.wide);
  assert.deepEqual(tab.console, []);
}

async function looksRight(tab, url, name) {
  await tab.open(url);
  for (const [size, pixels] of Object.entries(SIZES)) {
    const path = join(folder, `${name}-${size}.png`);
    await tab.screenshot(path, pixels);
    assert.ok(statSync(path).size > 0);
    const wider = await tab.run(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wider <= 0, `${size}: ${wider} pixels too wide`);
  }
  assert.deepEqual(tab.console, []);
}

function applicationPage(browserName) {
  const stage = stageIn(browserName);
  test("the page /-/ says what Rails does not", { timeout: 60_000 }, () => explains(stage));
  for (const client of Object.keys(applications)) {
    for (const road of ["auto", "sse", "poll"]) {
      test(`${client}, ${road}: not a word on the console`, { timeout: 30_000 }, () => quiet(stage, client, road));
    }
  }
}

/** `/-/` before a real Rails: what it says where Rails says nothing, or refuses. */
async function explains({ world, browser }) {
  const tab = await browser.tab();
  const shows = (id, text) => tab.until(`${id} shows ${text}`, 15_000, (id, text) => document.getElementById(id).textContent.includes(text), id, text);
  const press = (id) => tab.run((id) => (document.getElementById(id).focus(), document.getElementById(id).click()), id);
  const focused = () => tab.run(() => document.activeElement.id);
  await tab.open(`${world.bridge.url}/-/`);
  await tab.run(() => (document.cookie = "user=anna; Path=/"));
  assert.ok(!(await tab.run(() => document.getElementById("identifiers").innerHTML)).includes("Clock"), "the demo's channels");

  await tab.run(() => (document.getElementById("transport").value = "sse"));
  await press("connect");
  assert.equal(await focused(), "disconnect");
  await shows("log", "welcome");
  await tab.run(() => (document.getElementById("identifier").value = '{"channel":"NoSuchChannel"}'));
  await press("subscribe");
  await shows("log", "Rails says nothing where it knows no such channel");
  const copied = await tab.run(() => (getSelection().selectAllChildren(document.querySelector("#log .sent")), String(getSelection())));
  assert.match(copied, /^\S+ sent \{"command":"subscribe".*\}\s*$/, "a copied line is one line");
  await press("disconnect");
  await shows("state", "closed");
  assert.equal(await focused(), "connect");

  await tab.run(() => (document.cookie = "user=banned; Path=/"));
  await press("connect");
  await shows("state", "closed");
  await shows("why", "the server refused: unauthorized");
  await tab.close();
}

async function quiet({ world, browser }, client, road) {
  const tab = await browser.tab();
  await openGreeted({ world, tab, client, road, room: world.room() });
  assert.deepEqual(tab.console, []);
  await tab.close();
}
