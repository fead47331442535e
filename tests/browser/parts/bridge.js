// The bridge, as a user starts it, on a port that it keeps when it is started again.

import { bridgeBinary } from "./places.js";
import { Program, freePort } from "./processes.js";

const listening = (program) => program.output.includes("event=listening");

export class Bridge {
  #program;
  #options;
  #address;

  /** Starts it with these options. Without `-s` or `--demo` it would look for port 3000. */
  static async start(...options) {
    const bridge = new Bridge();
    bridge.#options = options;
    bridge.#address = `127.0.0.1:${await freePort()}`;
    bridge.url = `http://${bridge.#address}`;
    await bridge.startAgain();
    return bridge;
  }

  /** After `stop` or `kill`: where it was, and it knows nobody. */
  async startAgain() {
    const args = ["-l", this.#address, ...this.#options];
    this.#program = await Program.start(bridgeBinary(), args, { env: {}, up: listening });
  }

  /** What it said last. */
  get log() {
    return this.#program.output;
  }

  async stop() {
    await this.#program.stop();
  }

  /** Without a word to anybody. */
  async kill() {
    await this.#program.kill();
  }
}
