// Whoever may write markup into a page of the user's own site must not open a session with the user's cookie: every element
// that fetches is tried, with the path of a session as its address. A script that fetches is a client.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import { Bridge } from "./parts/bridge.js";
import { Browser, missingFor, names } from "./parts/browsers.js";
import { needing } from "./parts/skips.js";
import { until } from "./parts/wait.js";
import { pass } from "./site.js";

const PATIENCE_MS = 10_000;

/** Markup that fetches URL, in a page of the same origin. What a browser does not fetch so proves nothing, so most must. */
const ELEMENTS = {
  "img": `<img src="URL">`,
  "img-srcset": `<img srcset="URL 1x">`,
  "picture": `<picture><source srcset="URL"><img></picture>`,
  "input": `<input type="image" src="URL">`,
  "script": `<script src="URL"></script>`,
  "module": `<script type="module" src="URL"></script>`,
  "stylesheet": `<link rel="stylesheet" href="URL">`,
  "icon": `<link rel="icon" href="URL">`,
  "prefetch": `<link rel="prefetch" href="URL">`,
  "preload-image": `<link rel="preload" as="image" href="URL">`,
  "preload-script": `<link rel="preload" as="script" href="URL">`,
  "modulepreload": `<link rel="modulepreload" href="URL">`,
  "video": `<video preload="auto" src="URL"></video>`,
  "poster": `<video poster="URL"></video>`,
  "audio": `<audio preload="auto" src="URL"></audio>`,
  "source": `<video preload="auto"><source src="URL"></video>`,
  "track": `<video src="data:video/mp4,"><track default kind="captions" src="URL"></video>`,
  "embed": `<embed src="URL">`,
  "object": `<object data="URL"></object>`,
  "iframe": `<iframe src="URL"></iframe>`,
  "use": `<svg><use href="URL#a"></use></svg>`,
  "svg-image": `<svg><image href="URL"></image></svg>`,
  "background": `<div style="width: 9px; height: 9px; background: url(URL)"></div>`,
  "import": `<style>@import "URL";</style>`,
  "font": `<style>@font-face { font-family: f; src: url(URL) } b { font-family: f }</style><b>b</b>`,
};
const MOST = 12;

for (const browser of names) {
  needing(`elements in ${browser}`, missingFor(browser), () => describe(`elements in ${browser}`, () => tests(browser)));
}

function tests(browserName) {
  let bridge, browser, site, at;
  const answered = new Map();

  before(async () => {
    bridge = await Bridge.start("--demo");
    site = createServer((asked, answer) => {
      const [, name] = /^\/bridge\/element-([a-z-]+)/.exec(asked.url) ?? [];
      if (name) {
        answer.once("close", () => answer.headersSent && answered.set(name, answer.statusCode));
        return pass(asked, answer, bridge.url + asked.url.slice("/bridge".length));
      }
      if (asked.url.startsWith("/bridge/")) return pass(asked, answer, bridge.url + asked.url.slice("/bridge".length));
      const markup = ELEMENTS[asked.url.slice("/page/".length)]?.replaceAll("URL", `/bridge/element-${asked.url.slice("/page/".length)}`);
      answer.writeHead(200, { "content-type": "text/html", "set-cookie": "user=anna; Path=/" });
      answer.end(`<!doctype html><title>a page</title><body>${markup ?? ""}</body>`);
    });
    await new Promise((listening) => site.listen(0, "127.0.0.1", listening));
    at = `http://127.0.0.1:${site.address().port}`;
    browser = await Browser.start(browserName);
  });
  after(async () => {
    await browser?.stop();
    site?.closeAllConnections();
    site?.close();
    await bridge?.stop();
  });

  test("none of them opens a session", { timeout: 180_000 }, async () => {
    const tab = await browser.tab();
    for (const name of Object.keys(ELEMENTS)) {
      await tab.open(`${at}/page/${name}`);
      await until(name, 1_500, () => answered.has(name)).catch(() => {});
    }
    await tab.close();

    const told = Object.fromEntries(answered);
    assert.ok(answered.size >= MOST, `too few fetch at all: ${JSON.stringify(told)}`);
    for (const [name, status] of answered) assert.ok([403, 406].includes(status), `${name} is told ${status}`);
    assert.doesNotMatch(bridge.log, /event=session-opened/);
    console.log(`${browserName}: ${Object.entries(told).map((one) => one.join(" ")).join(", ")}`);
  });

  test("a script's EventSource and fetch are clients", { timeout: 60_000 }, async () => {
    const tab = await browser.tab();
    await tab.open(`${at}/page/none`);
    await tab.run(() => (new EventSource("/bridge/by-a-script").onmessage = () => (window.heard = true)));
    await tab.until("a stream", PATIENCE_MS, () => window.heard);
    assert.equal(await tab.run(async () => (await fetch("/bridge/by-a-fetch?timeout=1")).status), 200);
    await tab.close();
  });
}
