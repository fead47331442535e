// Old Chromiums, for real: npm has some inside packages, compressed. They are driven by their own debugging protocol,
// which puppeteer-core of today is too new for. The tab has the methods of the other browsers' tabs (browsers.js).

import { createReadStream, createWriteStream, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { createBrotliDecompress } from "node:zlib";
import { transformSync } from "esbuild";
import WebSocket from "ws";
import { here } from "./places.js";
import { Program, missing } from "./processes.js";
import { until } from "./wait.js";

const LOAD_MS = 30_000;
const COMMAND_MS = 60_000;

/** By major version: the compressed program. The first is the oldest that README claims. */
const packed = {
  66: "node_modules/chromium-66/bin/chromium.br",
  109: "node_modules/chromium-109/bin/chromium.br",
};

export const versions = Object.keys(packed);

/** What this version needs and is not there. */
export const missingFor = (version) => missing(join(here, packed[version]));

export class OldChromium {
  #program;
  #home = mkdtempSync(join(tmpdir(), "old-chromium-"));
  #socket;
  #commands = new Map();
  #tabs = new Map();
  #last = 0;

  static async start(version, ...flags) {
    const browser = new OldChromium();
    browser.name = `chromium-${version}`;
    try {
      await browser.#start(await unpacked(version), flags);
    } catch (error) {
      await browser.stop();
      throw error;
    }
    return browser;
  }

  async #start(program, flags) {
    const args = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0"];
    args.push(`--user-data-dir=${this.#home}`, ...flags, "about:blank");
    const address = ({ output }) => output.match(/DevTools listening on (ws:\S+)/)?.[1];
    this.#program = await Program.start(program, args, { env: { HOME: this.#home }, up: address });
    this.#socket = new WebSocket(address(this.#program), { perMessageDeflate: false });
    this.#socket.on("message", (text) => this.#heard(JSON.parse(text)));
    await new Promise((resolve, reject) => this.#socket.on("open", resolve).on("error", reject));
  }

  // In versions that know no flat sessions a tab's messages travel inside of messages.
  #heard({ id, result, error, method, params }) {
    if (method === "Target.receivedMessageFromTarget") return this.#tabs.get(params.sessionId)?.heard(JSON.parse(params.message));
    if (id) settle(this.#commands, id, result, error);
  }

  command(method, params = {}) {
    return sent(this.#commands, (this.#last += 1), method, (id) => this.#socket.send(JSON.stringify({ id, method, params })));
  }

  async tab() {
    const { targetId } = await this.command("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.command("Target.attachToTarget", { targetId });
    const tab = new OldTab(this, targetId, sessionId);
    this.#tabs.set(sessionId, tab);
    for (const part of ["Page", "Runtime", "Network"]) await tab.command(`${part}.enable`);
    return tab;
  }

  async stop() {
    this.#socket?.terminate();
    await this.#program?.kill();
    rmSync(this.#home, { recursive: true, force: true, maxRetries: 3 });
  }
}

class OldTab {
  #browser;
  #target;
  #session;
  #commands = new Map();
  #last = 0;
  #loaded = 0;

  /** What the page wrote to the console, and errors that nobody caught. */
  console = [];

  constructor(browser, target, session) {
    this.#browser = browser;
    this.#target = target;
    this.#session = session;
  }

  heard({ id, result, error, method, params }) {
    if (method === "Page.loadEventFired") this.#loaded += 1;
    if (method === "Runtime.consoleAPICalled") this.console.push(`${params.type}: ${params.args.map(({ value, description }) => value ?? description).join(" ")}`);
    if (method === "Runtime.exceptionThrown") {
      const { text, exception } = params.exceptionDetails;
      this.console.push(`uncaught: ${exception?.description ?? text}`);
    }
    if (id) settle(this.#commands, id, result, error);
  }

  command(method, params = {}) {
    const send = (id) => {
      const message = JSON.stringify({ id, method, params });
      this.#browser.command("Target.sendMessageToTarget", { sessionId: this.#session, message }).catch((error) => settle(this.#commands, id, null, error));
    };
    return sent(this.#commands, (this.#last += 1), method, send);
  }

  /** Runs this text before any script of each page that is opened from now on. */
  async before(source) {
    await this.command("Page.addScriptToEvaluateOnNewDocument", { source });
  }

  async open(url) {
    const before = this.#loaded;
    const { errorText } = await this.command("Page.navigate", { url });
    if (errorText) throw new Error(`${url}: ${errorText}`);
    await until(`${url} is loaded`, LOAD_MS, () => this.#loaded > before);
  }

  async run(inside, ...args) {
    const expression = transformSync(`(${inside})(...${JSON.stringify(args)})`, { target: `chrome${versions[0]}` }).code;
    const { result, exceptionDetails } = await this.command("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  until(what, within, inside, ...args) {
    return until(what, within, () => this.run(inside, ...args)).catch((error) => {
      throw new Error([error.message, ...this.console.slice(-10)].join("\n"));
    });
  }

  /** As when the user closes it: the page hears `pagehide`, which closing by the driver spares it. */
  async close() {
    await this.open("about:blank");
    await this.#browser.command("Target.closeTarget", { targetId: this.#target });
  }
}

function sent(commands, id, method, send) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => settle(commands, id, null, { message: `no answer to ${method}` }), COMMAND_MS);
    commands.set(id, { resolve, reject, method, timer });
    send(id);
  });
}

function settle(commands, id, result, error) {
  const command = commands.get(id);
  if (!command) return;
  commands.delete(id);
  clearTimeout(command.timer);
  if (error) command.reject(new Error(`${command.method}: ${error.message}`));
  else command.resolve(result);
}

/** The program, unpacked once beside its package. */
async function unpacked(version) {
  const from = join(here, packed[version]);
  const folder = join(here, "node_modules/.old-chromium");
  const program = join(folder, `chromium-${version}`);
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  const part = `${program}.${process.pid}`;
  await pipeline(createReadStream(from), createBrotliDecompress(), createWriteStream(part, { mode: 0o755 }));
  renameSync(part, program);
  return program;
}
