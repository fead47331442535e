// The bad network is as bad as it says.

import assert from "node:assert/strict";
import { createServer, request } from "node:http";
import { connect } from "node:net";
import { after, before, test } from "node:test";
import { Network } from "./network.js";
import { settled } from "./parts/wait.js";

const PATIENCE_MS = 5_000;

let server;
let answered = 0;

before(async () => {
  server = createServer((asked, answer) => {
    answered += 1;
    answer.setHeader("cache-control", "no-store");
    if (asked.url.startsWith("/count")) return answer.end(String(answered));
    answer.write("first");
    if (asked.url === "/two") setTimeout(() => answer.end("second"), 1_000);
  });
  server.on("upgrade", (asked, socket) => {
    socket.on("error", () => {});
    socket.end("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n");
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
});
after(() => {
  server.closeAllConnections();
  server.close();
});

async function through(faults, act) {
  const network = await Network.start(server.address().port, faults);
  try {
    return await settled(JSON.stringify(faults), PATIENCE_MS, act(network));
  } finally {
    await network.stop();
  }
}

const text = async (network, path) => (await fetch(network.url + path)).text();

async function firstPiece(network, path) {
  const reader = (await fetch(network.url + path)).body.getReader();
  return Buffer.from((await reader.read()).value).toString();
}

function upgradeStatus(network) {
  return new Promise((resolve, reject) => {
    const asked = request(network.url, { headers: { connection: "upgrade", upgrade: "x" } });
    asked.on("upgrade", (answer, socket) => (socket.destroy(), resolve(answer.statusCode)));
    asked.on("response", (answer) => (answer.destroy(), resolve(answer.statusCode)));
    asked.on("error", reject);
    asked.end();
  });
}

/** All the bytes that one request for /two brings. */
function raw(network) {
  return new Promise((resolve, reject) => {
    const socket = connect(network.port, "127.0.0.1");
    const parts = [];
    socket.write("GET /two HTTP/1.1\r\nHost: x\r\n\r\n");
    socket.on("data", (bytes) => parts.push(bytes));
    socket.on("end", () => resolve(Buffer.concat(parts).toString()));
    socket.on("error", reject);
  });
}

test("a good one passes everything on as it comes", () =>
  through({}, async (network) => {
    assert.equal(await firstPiece(network, "/two"), "first");
    assert.equal(await text(network, "/two"), "firstsecond");
    assert.equal(await upgradeStatus(network), 101);
  }));

test("no upgrade: an upgrade is a plain request", () =>
  through({ noUpgrade: true }, async (network) => {
    assert.equal(await upgradeStatus(network), 200);
    assert.equal(await firstPiece(network, "/two"), "first");
  }));

test("buffer: nothing comes before all has come", () =>
  through({ buffer: true }, async (network) => {
    assert.equal(await firstPiece(network, "/two"), "firstsecond");
    assert.equal(await upgradeStatus(network), 101);
  }));

test("HTTP/1.0: no chunks, and the connection ends", () =>
  through({ http10: true }, async (network) => {
    const answer = await raw(network);
    assert.match(answer, /^HTTP\/1\.0 200 /);
    assert.match(answer, /\r\n\r\nfirstsecond$/);
    assert.equal(await upgradeStatus(network), 200);
  }));

test("cache: a GET is answered once by the server, whatever it says", () =>
  through({ cache: true }, async (network) => {
    const first = await text(network, "/count");
    assert.equal(await text(network, "/count"), first);
    assert.notEqual(await text(network, "/count?other"), first);
  }));

test("cut: a stream is reset in its midst", () =>
  through({ cut: 300 }, (network) => assert.rejects(text(network, "/endless"))));

test("delay: it takes the delay twice at least", () =>
  through({ delay: 300 }, async (network) => {
    const began = Date.now();
    await text(network, "/count");
    assert.ok(Date.now() - began >= 600);
  }));

test("drop: open connections are reset, new ones too, until it is over", () =>
  through({}, async (network) => {
    const open = text(network, "/endless");
    await firstPiece(network, "/endless");
    const dropping = network.drop(2_000);
    await assert.rejects(open);
    await assert.rejects(text(network, "/count"));
    await dropping;
    assert.ok(await text(network, "/count"));
  }));

test("unplug: nothing passes, then everything does", () =>
  through({}, async (network) => {
    const began = Date.now();
    const unplugged = network.unplug(400);
    assert.ok(await text(network, "/count"));
    assert.ok(Date.now() - began >= 400);
    await unplugged;
  }));
