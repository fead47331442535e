// A Redis of our own, which keeps nothing.

import { connect } from "node:net";
import { Program, missing } from "./processes.js";

const PROGRAM = "/usr/bin/redis-server";

/** Where it is when all ports are free. */
export const REDIS_PORT = 6379;

export function missingForRedis() {
  return missing(PROGRAM);
}

export class Redis {
  #program;

  static async start(port = REDIS_PORT) {
    const redis = new Redis();
    const args = ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    redis.#program = await Program.start(PROGRAM, args, { env: {}, cwd: "/", up: () => answers(port) });
    redis.url = `redis://127.0.0.1:${port}/0`;
    return redis;
  }

  async stop() {
    await this.#program.stop();
  }
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write("PING\r\n"));
    const say = (answer) => (socket.destroy(), resolve(answer));
    socket.once("data", (bytes) => say(bytes.toString() === "+PONG\r\n")).once("error", () => say(false));
  });
}
