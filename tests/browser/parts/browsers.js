// Chromium and Firefox, driven by puppeteer-core, and tabs that say what they printed.
//
// A tab runs functions of the test inside of the page. WebKit has the same tabs: webkit.js.

import { setTimeout as later } from "node:timers/promises";
import puppeteer from "puppeteer-core";
import { missing } from "./processes.js";
import { until } from "./wait.js";

const LOAD_MS = 30_000;

const engines = {
  chromium: {
    browser: "chrome",
    executablePath: "/usr/bin/chromium",
    // As root Chromium starts without its sandbox only.
    args: ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
  },
  firefox: { browser: "firefox", executablePath: "/usr/bin/firefox-esr" },
};

/** BROWSERS chooses, as `firefox,webkit`. */
export const chosen = (name) => (process.env.BROWSERS ?? name).split(",").includes(name);

export const names = Object.keys(engines).filter(chosen);

/** What this browser needs and is not there. */
export function missingFor(name) {
  return missing(engines[name].executablePath);
}

export class Browser {
  #puppet;
  #scheme;

  /** `scheme` is the colour scheme that the user prefers, `light` or `dark`. */
  static async start(name, { acceptInsecureCerts = false, scheme = "light", flags = [] } = {}) {
    const browser = new Browser();
    browser.name = name;
    browser.#scheme = scheme;
    browser.#puppet = await puppeteer.launch({
      ...engines[name],
      args: [...(engines[name].args ?? []), ...flags],
      headless: true,
      protocolTimeout: 120_000,
      acceptInsecureCerts,
      extraPrefsFirefox: { "layout.css.prefers-color-scheme.content-override": scheme === "dark" ? 0 : 1 },
    });
    return browser;
  }

  /** A tab of the one profile: tabs share cookies, connections and locks. */
  async tab() {
    return this.#made(await this.#puppet.newPage());
  }

  /** A tab in a window of its own: another tab of the same window would hide it. */
  async window() {
    return this.#made(await this.#puppet.newPage({ type: "window" }));
  }

  async #made(page) {
    const scheme = { name: "prefers-color-scheme", value: this.#scheme };
    // Firefox has it from its settings, and cannot be told later.
    if (this.name === "chromium") await page.emulateMediaFeatures([scheme]);
    return new Tab(page);
  }

  /** Stops all its processes for so many ms, as a computer that sleeps does. */
  async sleep(ms) {
    const { pid } = this.#puppet.process();
    process.kill(-pid, "SIGSTOP");
    try {
      await later(ms);
    } finally {
      process.kill(-pid, "SIGCONT");
    }
  }

  async stop() {
    await this.#puppet.close();
  }
}

export class Tab {
  #page;

  /** What the page and the browser wrote to the console, and errors that nobody caught. */
  console = [];

  constructor(page) {
    this.#page = page;
    page.on("console", (message) => this.console.push(`${message.type()}: ${message.text()}`));
    page.on("pageerror", (error) => this.console.push(`uncaught: ${error.message}`));
  }

  async open(url) {
    const answer = await this.#page.goto(url, { waitUntil: "load", timeout: LOAD_MS });
    // A page that the browser has is answered 304.
    if (!answer.ok() && answer.status() !== 304) throw new Error(`${url}: ${answer.status()}`);
  }

  /** Runs a function in the page and returns what it returns, as JSON. */
  run(inside, ...args) {
    return this.#page.evaluate(inside, ...args);
  }

  /** Waits until a function in the page returns something true, and returns it. */
  until(what, within, inside, ...args) {
    return until(what, within, () => this.run(inside, ...args)).catch((error) => this.#explain(error));
  }

  async #explain(error) {
    const console = this.console.slice(-10).join("\n");
    throw new Error(console ? `${error.message}\nthe console of the page:\n${console}` : error.message);
  }

  async offline(is) {
    await this.#page.setOfflineMode(is);
  }

  /** As a browser does with a page that nobody has looked at for minutes: no script of it runs. Chromium only. */
  async freeze(is) {
    const devtools = await this.#page.createCDPSession();
    await devtools.send("Page.setWebLifecycleState", { state: is ? "frozen" : "active" });
    await devtools.detach();
  }

  async screenshot(path, { width, height }) {
    await this.#page.setViewport({ width, height });
    await this.#page.screenshot({ path, fullPage: true });
  }

  /** As when the user closes it: the page hears `pagehide`. */
  async close() {
    await this.#page.close({ runBeforeUnload: false });
  }
}
