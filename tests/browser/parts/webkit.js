// WebKitGTK, the engine nearest to an iPhone's, driven by WebKitWebDriver over plain HTTP.
//
// It needs a display and a D-Bus session of its own: both are started here. The tab has the methods of the
// other browsers' tabs (browsers.js) that its test needs.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as later } from "node:timers/promises";
import { Program, freePort, missing } from "./processes.js";
import { until } from "./wait.js";

const MINI_BROWSER = "/usr/lib/x86_64-linux-gnu/webkit2gtk-4.1/MiniBrowser";
const DRIVER = "/usr/bin/WebKitWebDriver";

/** New Session hangs for ever where something is wrong with D-Bus. */
const SESSION_MS = 30_000;
const COMMAND_MS = 60_000;

export const missingForWebKit = () => missing(DRIVER, MINI_BROWSER, "/usr/bin/Xvfb", "/usr/bin/dbus-run-session");

export class WebKit {
  #programs = [];
  #home = mkdtempSync(join(tmpdir(), "webkit-"));
  #session;

  static async start() {
    const browser = new WebKit();
    try {
      await browser.#start();
    } catch (error) {
      await browser.stop();
      throw error;
    }
    return browser;
  }

  name = "webkit";

  async #start() {
    // `-displayfd 1` has Xvfb choose a free display and say which.
    const screen = ["-displayfd", "1", "-screen", "0", "1024x768x24", "-nolisten", "tcp"];
    const env = { PATH: process.env.PATH, HOME: this.#home, LC_ALL: "C.UTF-8" };
    const xvfb = await Program.start("/usr/bin/Xvfb", screen, { env, up: ({ output }) => /^\d+$/m.test(output) });
    this.#programs.push(xvfb);
    const display = `:${xvfb.output.match(/^\d+$/m)[0]}`;
    const port = await freePort();
    const driver = ["--", DRIVER, `--port=${port}`];
    this.driver = `http://127.0.0.1:${port}`;
    const up = () => this.#ready();
    this.#programs.push(await Program.start("/usr/bin/dbus-run-session", driver, { env: { ...env, DISPLAY: display }, up }));
    const options = { binary: MINI_BROWSER, args: ["--automation"] };
    const capabilities = { alwaysMatch: { browserName: "MiniBrowser", "webkitgtk:browserOptions": options } };
    const { sessionId } = await this.#ask("POST", "/session", { capabilities }, SESSION_MS);
    this.#session = sessionId;
    await this.command("POST", "/timeouts", { script: COMMAND_MS, pageLoad: COMMAND_MS });
  }

  async #ready() {
    try {
      return (await this.#ask("GET", "/status", undefined, 2_000)).ready;
    } catch {
      return false;
    }
  }

  async #ask(method, path, body, within = COMMAND_MS) {
    const signal = AbortSignal.timeout(within);
    const answer = await fetch(this.driver + path, { method, body: body && JSON.stringify(body), signal });
    const { value } = await answer.json();
    if (!answer.ok) throw new Error(`${method} ${path}: ${value.error}: ${value.message}`);
    return value;
  }

  command(method, path, body = {}) {
    return this.#ask(method, `/session/${this.#session}${path}`, body);
  }

  /** The one tab there is: a page that is opened replaces the one before. */
  async tab() {
    return new WebKitTab(this);
  }

  signal(name) {
    this.#programs.forEach((program) => program.signal(name));
  }

  async stop() {
    if (this.#session) await this.#ask("DELETE", `/session/${this.#session}`).catch(() => {});
    for (const program of this.#programs.reverse()) await program.stop();
    rmSync(this.#home, { recursive: true, force: true });
  }
}

/** Windows side by side: each is a browser of its own, for a driver drives one. */
export class WebKits {
  #all = [];

  name = "webkit";

  static async start() {
    return new WebKits();
  }

  async window() {
    const browser = await WebKit.start();
    this.#all.push(browser);
    const tab = await browser.tab();
    tab.close = () => browser.stop();
    return tab;
  }

  /** Stops all processes for so many ms, as a computer that sleeps does. */
  async sleep(ms) {
    this.#signal("SIGSTOP");
    try {
      await later(ms);
    } finally {
      this.#signal("SIGCONT");
    }
  }

  #signal(name) {
    this.#all.forEach((browser) => browser.signal(name));
  }

  async stop() {
    for (const browser of this.#all) await browser.stop();
  }
}

class WebKitTab {
  #browser;

  constructor(browser) {
    this.#browser = browser;
  }

  async open(url) {
    await this.#browser.command("POST", "/url", { url });
  }

  async run(inside, ...args) {
    const script = `const done = arguments[arguments.length - 1];
      Promise.resolve().then(() => (${inside})(...[...arguments].slice(0, -1)))
        .then((value) => done({ value }), (error) => done({ error: String(error) }));`;
    const { value, error } = await this.#browser.command("POST", "/execute/async", { script, args });
    if (error) throw new Error(error);
    return value;
  }

  until(what, within, inside, ...args) {
    return until(what, within, () => this.run(inside, ...args));
  }

  async close() {
    await this.open("about:blank");
  }
}
