// The bridge, as a user starts it, on a port that it chose itself.

import { bridgeBinary } from "./places.js";
import { Program } from "./processes.js";

const listening = (program) => program.output.match(/event=listening address=(\S+)/)?.[1];

export class Bridge {
  #program;
  #options;

  /** Starts it with these options. Without `-s` or `--demo` it would look for port 3000. */
  static async start(...options) {
    const bridge = new Bridge();
    bridge.#options = options;
    await bridge.#listen("127.0.0.1:0");
    bridge.url = `http://${listening(bridge.#program)}`;
    return bridge;
  }

  get port() {
    return Number(new URL(this.url).port);
  }

  /** On the port that it had. */
  async startAgain() {
    await this.#listen(`127.0.0.1:${this.port}`);
  }

  async #listen(address) {
    const args = ["-l", address, ...this.#options];
    this.#program = await Program.start(bridgeBinary(), args, { env: {}, up: listening });
  }

  /** What it said last. */
  get log() {
    return this.#program.output;
  }

  /** Whether the session of this path is here. */
  async has(path) {
    const nothing = [{ identifier: { channel: "nobody's" }, unsubscribe: true }];
    const answer = await fetch(this.url + path, { method: "POST", body: JSON.stringify(nothing) });
    await answer.arrayBuffer();
    return answer.status !== 404;
  }

  /** With SIGKILL. */
  async kill() {
    await this.#program.kill();
  }

  async stop() {
    await this.#program.stop();
  }
}
