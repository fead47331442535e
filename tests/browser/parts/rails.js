// The application in tests/rails on puma: on the system's Rails 6.1, or on 7.2 in a root of its own.
//
// `scripts/check` unpacks Rails 7.2 into the target folder; RAILS_7_2 names another place.

import { createHmac } from "node:crypto";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { repository, target } from "./places.js";
import { Program, answers, freePort, missing } from "./processes.js";

const application = join(repository, "tests/rails");
const newerRoot = process.env.RAILS_7_2 ?? join(target, "roots", "rails-7.2");

export const versions = ["7.2", "6.1"];

/** What this version needs and is not there. */
export function missingFor(version) {
  return version === "6.1" ? missing("/usr/bin/puma") : missing(join(newerRoot, "usr/bin/puma"));
}

/** What `turbo_stream_from` has as `signed-stream-name`, and the application verifies. */
export function signedStreamName(stream) {
  const data = Buffer.from(JSON.stringify(stream)).toString("base64");
  return `${data}--${createHmac("sha256", "for tests only").update(data).digest("hex")}`;
}

export class Rails {
  #version;
  #program;
  #redis;

  /** Processes that share a Redis, given by its URL, deliver to all of them. */
  static async start(version, redis) {
    const rails = await Rails.prepare(version, redis);
    await rails.startAgain();
    return rails;
  }

  /** One that has a port, and does not run yet. */
  static async prepare(version, redis) {
    return new Rails(version, await freePort(), redis);
  }

  constructor(version, port, redis) {
    this.#version = version;
    this.#redis = redis ? { CABLE_ADAPTER: "redis", REDIS_URL: redis } : {};
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
  }

  /** What a deploy does first: puma closes its sockets without a word. */
  async stop() {
    await this.#program.stop();
  }

  /** Without a word to anything. */
  async kill() {
    await this.#program.kill();
  }

  /** What a deploy does last. */
  async startAgain() {
    const [command, ...args] = this.#command();
    // Nothing is inherited: a RUBYOPT or a PWD that does not exist in the new root ends puma at once.
    const env = { PATH: "/usr/bin:/bin", LC_ALL: "C.UTF-8", PWD: "/", PORT: String(this.port), ...this.#redis };
    this.#program = await Program.start(command, args, { env, cwd: "/", up: () => answers(`${this.url}/up`) });
  }

  #command() {
    const puma = (folder) => ["/usr/bin/puma", "-C", join(folder, "puma.rb"), join(folder, "config.ru")];
    if (this.#version === "6.1") return puma(application);
    cpSync(application, join(newerRoot, "app"), { recursive: true });
    return ["/usr/sbin/chroot", newerRoot, ...puma("/app")];
  }

  /** Sends this text to everybody in the room, from outside. */
  broadcast(room, text) {
    return this.#control("broadcast", { room, text });
  }

  /** Appends this text to the messages of the pages that show the stream. */
  broadcastTurbo(stream, text) {
    return this.#control("turbo", { stream, text });
  }

  /** Tells the GraphQL subscribers of this field. */
  broadcastGraphql(field, text) {
    return this.#control("graphql", { field, text });
  }

  /** How many connections the cable server has. */
  async connections() {
    const answer = await fetch(`${this.url}/counts`);
    await answer.arrayBuffer();
    return Number(answer.headers.get("connections-open"));
  }

  /** Ends all connections of this user. */
  disconnect(user) {
    return this.#control("disconnect", { user });
  }

  /** Ends all connections with `server_restart`. */
  restart() {
    return this.#control("restart", {});
  }

  async #control(action, parameters) {
    const target = `${this.url}/${action}?${new URLSearchParams(parameters)}`;
    const answer = await fetch(target, { method: "POST" });
    await answer.arrayBuffer();
    if (answer.status !== 204) throw new Error(`POST /${action}: ${answer.status}`);
  }
}
