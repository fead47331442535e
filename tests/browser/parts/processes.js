// The programs a test starts: on ports of their own, their output kept, ended with the test.
//
// A program that ends by itself or does not come up fails the test with what it printed last.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout as later } from "node:timers/promises";
import { until } from "./wait.js";

const UP_MS = 60_000;
const STOP_MS = 6_000;
const OUTPUT_KEPT = 20_000;

const running = new Set();
process.on("exit", () => running.forEach((child) => signal(child, "SIGKILL")));
// In groups of their own they would not hear what the terminal tells this process.
for (const end of ["SIGINT", "SIGTERM"]) process.once(end, () => process.exit(1));

// To the program and to all that it started.
function signal(child, name) {
  try {
    process.kill(-child.pid, name);
  } catch (error) {
    if (error.code !== "ESRCH") throw error;
  }
}

/** A port that a program can be told to listen on. */
export async function freePort() {
  for (let tries = 0; tries < 100; tries += 1) {
    // Below 32768: above, an outgoing connection of anybody may take it before the program does.
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    if (await canListen(port)) return port;
  }
  throw new Error("no free port from 20000 to 32000");
}

function canListen(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

/** The missing ones of these programs, given by path. */
export function missing(...paths) {
  return paths.filter((path) => !existsSync(path));
}

export class Program {
  #output = "";

  /** Starts a program and returns when `up`, asked again and again, says so. */
  static async start(command, args, { env, cwd, up }) {
    const program = new Program(command, args, { env, cwd });
    await until(`${command} is up`, UP_MS, async () => {
      program.#mustRun();
      return up(program);
    }).catch(async (error) => {
      await program.stop();
      throw new Error(`${error.message}\n${program.output}`);
    });
    return program;
  }

  constructor(command, args, { env, cwd }) {
    this.command = command;
    this.child = spawn(command, args, { env, cwd, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    if (this.child.pid) running.add(this.child);
    this.child.once("error", (error) => this.#keep(`${error.message}\n`));
    this.child.stdout.on("data", (bytes) => this.#keep(bytes));
    this.child.stderr.on("data", (bytes) => this.#keep(bytes));
  }

  #keep(bytes) {
    this.#output = (this.#output + bytes).slice(-OUTPUT_KEPT);
  }

  #mustRun() {
    if (!this.#ended()) return;
    throw new Error(`${this.command} ended by itself (${this.child.exitCode ?? this.child.signalCode})`);
  }

  #ended() {
    return this.child.exitCode !== null || this.child.signalCode !== null || this.child.pid === undefined;
  }

  get output() {
    return this.#output;
  }

  /** To it and to all that it started. */
  signal(name) {
    signal(this.child, name);
  }

  kill() {
    return this.stop("SIGKILL");
  }

  async stop(name = "SIGTERM") {
    if (!this.child.pid) return;
    if (!this.#ended()) {
      const ended = once(this.child, "exit");
      signal(this.child, name);
      const stubborn = later(STOP_MS, true, { ref: false });
      if (await Promise.race([ended.then(() => false), stubborn])) signal(this.child, "SIGKILL");
      await ended;
    }
    // What it started and left behind.
    signal(this.child, "SIGKILL");
    running.delete(this.child);
  }
}

/** Whether this address answers 200. */
export async function answers(url) {
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    await answer.arrayBuffer();
    return answer.status === 200;
  } catch {
    return false;
  }
}
