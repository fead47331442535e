// The bridge, as a user starts it, on a port that it chose itself.

import { bridgeBinary } from "./places.js";
import { Program } from "./processes.js";

export class Bridge {
  #program;

  /** Starts it with these options. Without `-s` or `--demo` it would look for port 3000. */
  static async start(...options) {
    const bridge = new Bridge();
    const listening = (program) => program.output.match(/event=listening address=(\S+)/)?.[1];
    const args = ["-l", "127.0.0.1:0", ...options];
    bridge.#program = await Program.start(bridgeBinary(), args, { env: {}, up: listening });
    bridge.url = `http://${listening(bridge.#program)}`;
    return bridge;
  }

  /** What it said last. */
  get log() {
    return this.#program.output;
  }

  async stop() {
    await this.#program.stop();
  }
}
