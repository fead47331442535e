// nginx, HAProxy and Caddy with the configuration that the README gives, HTTP/2 on towards the browser.
//
// The files are those in scripts/deploy: only addresses, the name, the certificate and what needs a whole
// machine (users, daemons, logs) are changed here.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { repository } from "./places.js";
import { Program, freePort, missing } from "./processes.js";

const kinds = {
  nginx: {
    program: "/usr/sbin/nginx",
    file: "nginx.conf",
    settings: forNginx,
    args: (file) => ["-e", "stderr", "-c", file],
    // As the README adds them, "Beyond one machine".
    add: (text, address) =>
      text.replace(/^ *server 127\.0\.0\.1:8080.*\n/gm, `$&    server ${address} max_fails=1 fail_timeout=2s;\n`),
  },
  haproxy: {
    program: "/usr/sbin/haproxy",
    file: "haproxy.cfg",
    settings: forHaproxy,
    args: (file) => ["-db", "-f", file],
    add: (text, address) => text.replace(/^ *server bridge1 .*\n/gm, `$&    server bridge2 ${address}\n`),
  },
  caddy: {
    program: "/usr/bin/caddy",
    file: "Caddyfile",
    settings: forCaddy,
    args: (file) => ["run", "--adapter", "caddyfile", "--config", file],
  },
};

export const names = Object.keys(kinds);

/** Those that choose a bridge by the path alone. */
export const hashing = names.filter((name) => kinds[name].add);

export function missingFor(name) {
  return missing(kinds[name].program, "/usr/bin/openssl");
}

export class Proxy {
  #program;
  #folder = mkdtempSync(join(tmpdir(), "proxy-"));

  /** `application`, `bridge` and `another` bridge, if there is one, are ports. */
  static async start(name, { application, bridge, another }) {
    const proxy = new Proxy();
    const { program, file, settings, args, add } = kinds[name];
    const [port, plain] = [await freePort(), await freePort()];
    const certificate = makeCertificate(proxy.#folder);
    const deployed = readFileSync(join(repository, "scripts/deploy", file), "utf8");
    const text = (another ? add(deployed, `127.0.0.1:${another}`) : deployed)
      .replaceAll("127.0.0.1:3000", `127.0.0.1:${application}`)
      .replaceAll("127.0.0.1:8080", `127.0.0.1:${bridge}`);
    const config = join(proxy.#folder, file);
    writeFileSync(config, settings(text, { port, plain, certificate, folder: proxy.#folder }));
    // Caddy keeps its state in its user's home.
    const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: proxy.#folder };
    proxy.#program = await Program.start(program, args(config), { env, up: () => accepts(port) });
    proxy.url = `https://127.0.0.1:${port}`;
    return proxy;
  }

  async stop() {
    await this.#program.stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function makeCertificate(folder) {
  const [certificate, key, both] = ["certificate.pem", "key.pem", "both.pem"].map((name) => join(folder, name));
  const subject = ["-subj", "/CN=app.example", "-addext", "subjectAltName=IP:127.0.0.1"];
  const kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  execFileSync("openssl", ["req", "-x509", ...kind, "-keyout", key, "-out", certificate, ...subject], { stdio: "pipe" });
  writeFileSync(both, readFileSync(certificate, "utf8") + readFileSync(key, "utf8"));
  return { certificate, key, both };
}

function forNginx(text, { port, plain, certificate, folder }) {
  const servers = text
    .replace(/^ *listen \[::\].*\n/gm, "")
    .replace("listen 80", `listen 127.0.0.1:${plain}`)
    .replace("listen 443", `listen 127.0.0.1:${port}`)
    .replaceAll("/var/log/nginx/error.log", `${folder}/error.log`)
    .replace("/etc/ssl/www.example.com/fullchain.pem", certificate.certificate)
    .replace("/etc/ssl/www.example.com/privkey.pem", certificate.key);
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return `daemon off; worker_processes 1; pid ${folder}/pid; error_log stderr;
events { worker_connections 256; }
http { access_log off; ${paths.map((path) => `${path}_temp_path ${folder}/${path};`).join(" ")}
${servers}}
`;
}

function forHaproxy(text, { port, plain, certificate }) {
  return text
    .replace(/^ *(log \/dev\/log|user |group |daemon).*\n/gm, "")
    .replace("bind :80", `bind 127.0.0.1:${plain}`)
    .replace("bind :443", `bind 127.0.0.1:${port}`)
    .replace("/etc/haproxy/www.example.com.pem", certificate.both);
}

// With its own ways of HTTPS on, Caddy would listen on port 80 too.
function forCaddy(text, { port, certificate }) {
  return text
    .replace(/^\{\n/m, "{\n\tadmin off\n\tauto_https off\n")
    .replace("www.example.com {", `https://127.0.0.1:${port} {\n\tbind 127.0.0.1`)
    .replace("/etc/ssl/www.example.com/fullchain.pem", certificate.certificate)
    .replace("/etc/ssl/www.example.com/privkey.pem", certificate.key);
}

function accepts(port) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => resolve(true)).on("error", () => resolve(false));
    socket.on("connect", () => socket.destroy());
  });
}
