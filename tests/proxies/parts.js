// The three shipped proxy files, each with two bridges behind it, on ports of their own.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import https from "node:https";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isMainThread } from "node:worker_threads";
import { freePort } from "../browser/parts/processes.js";

const repository = new URL("../..", import.meta.url).pathname;
const bridgeProgram = process.env.BRIDGE;
const NAME = "www.example.com";

/** What a proxy waits for a silent bridge, and what a bridge does against it: an eighth of the shipped times. */
const PATIENCE = "4s";
const HEARTBEAT = "1s";

export const names = ["nginx", "haproxy", "caddy"];

const folder = isMainThread ? mkdtempSync(join(tmpdir(), "proxies-")) : "";
const key = join(folder, "key.pem");
const certificate = join(folder, "certificate.pem");
if (isMainThread) execFileSync("openssl", [..."req -x509 -newkey rsa:2048 -nodes -days 2 -subj".split(" "), `/CN=${NAME}`,
  "-keyout", key, "-out", certificate], { stdio: "ignore" });
if (isMainThread) writeFileSync(join(folder, "both.pem"), readFileSync(certificate) + readFileSync(key));

process.setMaxListeners(0);

/** A program that ends with this process, or before. */
class Program {
  output = "";

  constructor(command, args, env = {}) {
    this.child = spawn(command, args, { env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin`, ...env } });
    for (const pipe of [this.child.stdout, this.child.stderr]) pipe.on("data", (text) => (this.output += text));
    this.ended = new Promise((ended) => this.child.on("close", ended));
    process.on("exit", () => this.child.kill("SIGKILL"));
  }

  /** Its exit code. */
  async stop() {
    this.child.kill("SIGTERM");
    return this.ended;
  }
}

/** Asks ten times a second, for 10 s. */
export async function until(what, so) {
  for (let asked = 0; asked < 100; asked++) {
    if (await so()) return;
    await new Promise((later) => setTimeout(later, 100));
  }
  throw new Error(`not within 10 s: ${what}`);
}

const accepts = (port) =>
  new Promise((answer) => {
    const socket = net.connect(port, "127.0.0.1", () => answer(true) || socket.destroy());
    socket.on("error", () => answer(false));
  });

const shipped = (file, changes) => {
  let text = readFileSync(join(repository, "scripts/deploy", file), "utf8");
  for (const [from, to] of changes) {
    if (!text.includes(from)) throw new Error(`${file} has no ${from}`);
    text = text.replaceAll(from, to);
  }
  return text;
};

const files = {
  nginx: (tls, http, [one, two]) => {
    const site = shipped("nginx.conf", [
      ["    listen [::]:80;\n", ""],
      ["    listen [::]:443 ssl http2;\n", ""],
      ["listen 80;", `listen 127.0.0.1:${http};`],
      ["listen 443 ", `listen 127.0.0.1:${tls} `],
      ["/etc/ssl/www.example.com/fullchain.pem", certificate],
      ["/etc/ssl/www.example.com/privkey.pem", key],
      ["    server 127.0.0.1:8080 max_fails=0;\n", [one, two].map((port) => `    server 127.0.0.1:${port} max_fails=0;\n`).join("")],
      ["/var/log/nginx/error.log", "/dev/null"],
      ["proxy_read_timeout 60s", `proxy_read_timeout ${PATIENCE}`],
    ]);
    const around = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${folder}/${kind};`);
    writeFileSync(join(folder, "site.conf"), site);
    writeFileSync(join(folder, "nginx.conf"), `daemon off; pid ${folder}/nginx.pid; error_log stderr crit;
      events { worker_connections 4000; } http { access_log off; ${around.join(" ")} include ${folder}/site.conf; }`);
    return ["nginx", ["-c", join(folder, "nginx.conf")]];
  },
  haproxy: (tls, http, ports) => {
    const both = ports.map((port, number) => `    server bridge${number + 1} 127.0.0.1:${port}\n`).join("");
    writeFileSync(join(folder, "haproxy.cfg"), shipped("haproxy.cfg", [
      ["    log /dev/log local0\n    user haproxy\n    group haproxy\n    daemon\n", ""],
      ["    log global\n", ""],
      ["bind :80", `bind 127.0.0.1:${http}`],
      ["bind :443", `bind 127.0.0.1:${tls}`],
      ["/etc/haproxy/www.example.com.pem", join(folder, "both.pem")],
      ["    server bridge1 127.0.0.1:8080\n", both],
      ["timeout server 60s", `timeout server ${PATIENCE}`],
    ]));
    return ["haproxy", ["-db", "-f", join(folder, "haproxy.cfg")]];
  },
  caddy: (tls, http, [one, two]) => {
    writeFileSync(join(folder, "Caddyfile"), shipped("Caddyfile", [
      ["{\n\t# A path is", `{\n\tadmin off\n\thttp_port ${http}\n\thttps_port ${tls}\n\t# A path is`],
      ["/etc/ssl/www.example.com/fullchain.pem /etc/ssl/www.example.com/privkey.pem", `${certificate} ${key}`],
      ["reverse_proxy 127.0.0.1:8080", `reverse_proxy 127.0.0.1:${one} 127.0.0.1:${two}`],
      ["response_header_timeout 60s", `response_header_timeout ${PATIENCE}`],
    ]));
    return ["caddy", ["run", "--adapter", "caddyfile", "--config", join(folder, "Caddyfile")]];
  },
};

async function timed(program) {
  const began = performance.now();
  return { code: await program.stop(), ms: performance.now() - began };
}

/** Two bridges, each with a demo server of its own, behind the shipped file of `proxy`. */
export async function start(proxy) {
  const [one, two, tls, http, admin] = await Promise.all(Array.from({ length: 5 }, freePort));
  const bridge = (port, ...more) =>
    new Program(bridgeProgram, ["--demo", "-q", "-l", `127.0.0.1:${port}`, "--heartbeat", HEARTBEAT, ...more]);
  const bridges = [bridge(one, "--admin", `127.0.0.1:${admin}`), bridge(two)];
  const [command, args] = files[proxy](tls, http, [one, two]);
  const before = new Program(command, args, { HOME: folder, XDG_DATA_HOME: folder, XDG_CONFIG_HOME: folder });
  const programs = [before, ...bridges];
  const stop = () => Promise.all(programs.map((program) => program.stop()));
  try {
    for (const port of [one, two, admin, tls]) await until(`port ${port} of ${proxy}`, () => accepts(port));
  } catch (error) {
    throw new Error(`${error.message}\n${programs.map((program) => program.output).join("\n")}`);
  }
  return { tls, admin, stop, drain: () => Promise.all(bridges.map(timed)) };
}

/** One request through the proxy; its answer once the head is there. Errors of the connection are status 0. */
export function ask(port, agent, method, path, headers = {}, body) {
  return new Promise((answered) => {
    const options = { host: "127.0.0.1", port, method, path, agent, servername: NAME, rejectUnauthorized: false };
    const request = https.request({ ...options, headers: { Host: NAME, ...headers } });
    request.on("response", (response) => answered({ status: response.statusCode, response, request }));
    request.on("error", () => answered({ status: 0, request }));
    request.end(body);
  });
}

export async function text(response) {
  let all = "";
  try {
    for await (const piece of response) all += piece;
  } catch {
    // It was cut: what came is what there is.
  }
  return all;
}
