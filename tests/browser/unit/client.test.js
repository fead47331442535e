// client.js without a browser: what it asks of the bridge, and what the application sees. No test waits for real time.

import assert from "node:assert/strict";
import { beforeEach, describe, mock, test } from "node:test";
import { readFileSync } from "node:fs";
import { parsesAs } from "../parts/used-names.js";
import { Tab, happened, noting, settled } from "./fake.js";

const PING = /^\{"type":"ping","message":\d+\}$/;

let tab;
beforeEach(() => {
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  tab = new Tab();
});

const pass = async (time) => {
  await settled();
  mock.timers.tick(time);
  await settled();
};
const withoutPings = (socket) => socket.happened.filter((what) => !PING.test(what));

test("the language is that of 2019, which Chrome 66, Firefox 65 and Safari 12.1 speak", () => {
  parsesAs(readFileSync(new URL("../../../src/pages/client.js", import.meta.url), "utf8"), 2019);
});

describe("over a stream", () => {
  test("the GET offers the subprotocols and takes the application's parameters along, the socket names its session", async () => {
    const socket = tab.open("sse", ["a", "b"]);

    const { url, query, headers } = await tab.next();

    assert.match(url.pathname, /^\/bridge\/\d+(-\d+){3}$/);
    assert.equal(socket.session, url.origin + url.pathname);
    assert.deepEqual(query, { protocol: "a,b", seq: "1", token: "t" });
    assert.equal(headers.Accept, "text/event-stream");
  });

  test("frames arrive whole, wherever the chunks are cut", async () => {
    const socket = tab.open("sse");
    const stream = (await tab.next()).opened();
    const bytes = new TextEncoder().encode('id: e1\ndata: {"é":\ndata: "\u2028"}\n\nid: e2\ndata: two\n\n');

    for (const byte of bytes) stream.write(Uint8Array.of(byte));

    assert.deepEqual(await happened(socket, 3), ["open actioncable-v1-json", '{"é":\n"\u2028"}', "two"]);
  });

  test("the promises of one event are done before the next", async () => {
    const socket = tab.open("sse");
    const order = [];
    socket.onopen = () => Promise.resolve().then(() => {}).then(() => order.push("after open"));
    socket.onmessage = ({ data }) => order.push(data);

    (await tab.next()).opened().write("id: e1\ndata: one\n\n");
    await settled();

    assert.deepEqual(order, ["after open", "one"]);
  });

  test("one that breaks goes on after the last whole event, and the application sees a ping at most", async () => {
    const socket = tab.open("sse");
    const first = await tab.next();
    const stream = first.opened();
    stream.write("id: e1\ndata: one\n\nid: e2\ndata: tw");
    await happened(socket, 2);

    stream.breaks();
    await pass(1000);
    const second = await tab.next();
    second.opened("actioncable-v1-json", true).write("id: e2\ndata: two\n\n");
    await settled();

    assert.deepEqual([second.url.pathname, second.query.after], [first.url.pathname, "e1"]);
    assert.equal("token" in second.query, false);
    assert.deepEqual(withoutPings(socket), ["open actioncable-v1-json", "one", "two"]);
    assert.ok(socket.happened.some((what) => PING.test(what)));
  });

  test("a session that is gone closes with what the bridge knows", async () => {
    const socket = tab.open("sse", "graphql-ws");
    const stream = (await tab.next()).opened("graphql-ws");
    await happened(socket, 1);

    stream.breaks();
    await pass(1000);
    (await tab.next()).answer(410, { error: "gone", close: { code: 4001, reason: "bye" } });

    assert.deepEqual(await happened(socket, 2), ["open graphql-ws", "close 4001 bye clean"]);
  });

  test("a session that nobody knows any more closes, and the client is asked to come back", async () => {
    const socket = tab.open("sse");
    const stream = (await tab.next()).opened();
    let asked = 0;
    globalThis.addEventListener("visibilitychange", () => (asked += 1));
    await happened(socket, 1);

    stream.breaks();
    await pass(1000);
    (await tab.next()).answer(410, { error: "gone", close: null });
    await settled();
    const before = asked;
    await pass(1000);

    assert.deepEqual(withoutPings(socket), ["open actioncable-v1-json", "error", "close 1006  unclean"]);
    assert.deepEqual([before, asked], [0, 1]);
  });

  // The application's own watch gives it up after 6 s.
  test("one that falls silent before its first ping is made anew", async () => {
    tab.open("sse");
    const stream = (await tab.next()).opened();
    stream.write("id: e1\ndata: one\n\n");
    await pass(5000);
    await pass(1000);

    const { query } = await tab.next();

    assert.equal(query.after, "e1");
  });

  test("a close of the upstream is the close of the socket", async () => {
    const socket = tab.open("sse");

    (await tab.next()).opened().write('id: e1\nevent: close\ndata: {"code":1001,"reason":"away"}\n\n');

    assert.deepEqual(await happened(socket, 2), ["open actioncable-v1-json", "close 1001 away clean"]);
  });
});

describe("the road", () => {
  test("beside one that brings nothing in 3 s the next is tried, and its session ends when that opens", async () => {
    const socket = tab.open("sse,poll");
    const first = await tab.next();

    await pass(3000);
    (await tab.next()).answer(200, { protocol: "p", messages: [], last_event_id: "e0" });
    await happened(socket, 1);
    const ended = await tab.next("DELETE");

    assert.equal(ended.url.pathname, first.url.pathname);
    assert.equal(first.signal.aborted, true);
    assert.deepEqual([socket.transport, socket.transportReason], ["poll", "as configured; sse: nothing came in 3 s"]);
  });

  test("one that is slow may still win, and says why it was the first", async () => {
    const socket = tab.open("sse,poll");
    const slow = await tab.next();

    await pass(3000);
    const poll = await tab.next();
    slow.opened();
    await happened(socket, 1);

    assert.equal((await tab.next("DELETE")).url.pathname, poll.url.pathname);
    assert.equal(poll.signal.aborted, true);
    assert.deepEqual([socket.transport, socket.transportReason], ["sse", "as configured"]);
    assert.deepEqual(sessionStorage, {});
  });

  test("a refusal waits for one that was tried before and has not been answered", async () => {
    const socket = tab.open("sse,poll");
    const slow = await tab.next();

    await pass(3000);
    (await tab.next()).answer(502, { error: "the upstream is away" });
    await settled();
    assert.deepEqual(socket.happened, []);
    slow.opened();

    assert.deepEqual(await happened(socket, 1), ["open actioncable-v1-json"]);
  });

  test("all that are tried end with the socket", async () => {
    const socket = tab.open("sse,poll");
    const sse = await tab.next();
    await pass(3000);
    const poll = await tab.next();

    socket.close();

    assert.deepEqual(await happened(socket, 2), ["error", "close 1006  unclean"]);
    assert.deepEqual([sse.signal.aborted, poll.signal.aborted], [true, true]);
  });

  test("the one that worked is remembered for some minutes", async () => {
    const native = class extends EventTarget {
      constructor() {
        throw new Error("not allowed");
      }
    };
    tab = new Tab({ native });
    tab.open();
    (await tab.next()).opened();
    await settled();

    const socket = tab.open();
    (await tab.next()).opened();
    await happened(socket, 1);

    assert.match(socket.transportReason, /^remembered: first choice; websocket: not allowed$/);
    assert.equal(socket.transport, "sse");
  });

  test("a refusal in the bridge's words is no fault of the road", async () => {
    const socket = tab.open("sse,poll");

    (await tab.next()).answer(403, { error: "the upstream refused" });

    assert.deepEqual(await happened(socket, 2), ["error", "close 1006  unclean"]);
    assert.equal(socket.transportReason, "as configured; sse: the upstream refused");
    assert.equal(tab.requests.length, 0);
  });

  test("a stream of nothing but `retry:` says when to come back", async () => {
    const socket = tab.open("sse");
    const busy = (await tab.next()).stream();
    busy.write("retry: 7000\n\n");
    busy.end();
    await pass(6999);
    assert.equal(tab.requests.length, 0);

    await pass(1);
    (await tab.next()).opened();

    assert.deepEqual(await happened(socket, 1), ["open actioncable-v1-json"]);
  });

  test("without a slot polls are short, and the stream comes when one is free", async () => {
    globalThis.localStorage = {};
    const holders = [1, 2, 3].map(() => tab.open("sse"));
    for (let times = 0; times < 3; times++) await pass(50);
    for (const _ of holders) (await tab.next()).opened();
    const socket = tab.open("sse");

    const poll = await tab.next();
    poll.answer(200, { protocol: "actioncable-v1-json", messages: ["one"], last_event_id: "e1" });
    await happened(socket, 2);
    assert.deepEqual([poll.query.timeout, socket.transport], ["1", "poll"]);
    assert.equal(socket.transportReason, "other requests are held open");

    // Asked at once: the first answer came with the opening.
    const second = await tab.next();
    holders[0].close();
    (await tab.next("DELETE")).answer(204);
    second.answer(200, { messages: [], last_event_id: "e1" });
    await pass(3000);
    await pass(50);
    const stream = await tab.next();

    assert.deepEqual([stream.headers.Accept, stream.query.after], ["text/event-stream", "e1"]);
  });

  test("a slot whose holder has not been heard of for 10 s is free", async () => {
    const until = (ms) => JSON.stringify([Date.now() + ms, 0.5]);
    const names = [0, 1, 2].map((slot) => `actioncable-bridge${slot}`);
    globalThis.localStorage = Object.fromEntries(names.map((name) => [name, until(name.endsWith("2") ? -1 : 9_000)]));

    tab.open("sse");
    await pass(50);
    await tab.next();

    const [last] = JSON.parse(localStorage[names[2]]);
    assert.ok(last > Date.now() + 9_000, "it is held again");
  });
});

describe("over long polls", () => {
  test("each reply is acknowledged by the next poll, and makes a ping", async () => {
    const socket = tab.open("poll");
    (await tab.next()).answer(200, { protocol: "actioncable-v1-json", messages: ["one", "two"], last_event_id: "e2" });

    const { query } = await tab.next();

    assert.deepEqual([query.timeout, query.after, query.seq], ["4", "e2", "2"]);
    assert.match((await happened(socket, 4)).at(-1), PING);
    assert.deepEqual(withoutPings(socket), ["open actioncable-v1-json", "one", "two"]);
  });

  test("what is no answer of the bridge opens nothing", async () => {
    const socket = tab.open("poll");

    (await tab.next()).answer(200, { portal: "please log in" });

    assert.deepEqual(await happened(socket, 2), ["error", "close 1006  unclean"]);
  });

  test("the close comes after the last frame", async () => {
    const socket = tab.open("poll", "p");

    (await tab.next()).answer(200, { protocol: "p", messages: ["one"], last_event_id: "e2", close: { code: 1000, reason: "" } });

    assert.deepEqual(await happened(socket, 3), ["open p", "one", "close 1000  clean"]);
  });
});

describe("upward", () => {
  const opened = async () => {
    const socket = tab.open("sse");
    (await tab.next()).opened();
    await happened(socket, 1);
    return socket;
  };

  test("one POST at a time: what is sent meanwhile goes with the next", async () => {
    const socket = await opened();
    socket.send("a\n");
    socket.send("b");
    const first = await tab.next("POST");
    socket.send("c");
    await settled();
    assert.equal(tab.requests.length, 0);

    first.answer(204);
    const second = await tab.next("POST");

    assert.deepEqual([first.query.seq, first.body, first.keepalive], ["1", '"a\\n"\n"b"', true]);
    assert.deepEqual([second.query.seq, second.body], ["2", '"c"']);
  });

  test("one that got lost is sent again under its number", async () => {
    const socket = await opened();
    socket.send("a");
    (await tab.next("POST")).breaks();
    socket.send("b");
    await pass(1000);

    const again = await tab.next("POST");

    assert.deepEqual([again.query.seq, again.body], ["1", '"a"']);
  });

  test("the last words of a page that goes, and the end of its session", async () => {
    const socket = tab.open("sse");
    const stream = (await tab.next()).opened();
    await happened(socket, 1);
    globalThis.addEventListener("pagehide", () => socket.send("last"));
    socket.send("a");
    await tab.next("POST");
    stream.write(": the bridge is still there\n\n");
    await settled();

    tab.dispatch("pagehide", { persisted: false });
    const [last, ended] = [await tab.next("POST"), await tab.next("DELETE")];

    assert.deepEqual([last.query.seq, last.body, last.keepalive], ["2", '"last"', true]);
    assert.deepEqual([ended.query.seq, ended.keepalive], ["2", true]);
  });

  test("close() sends what waits, ends the session, and is told once and later", async () => {
    const socket = await opened();
    socket.send("a");
    socket.close(3001, "done");
    assert.deepEqual([socket.readyState, socket.happened.length], [2, 1]);

    (await tab.next("POST")).answer(204);
    (await tab.next("DELETE")).answer(204);
    socket.close();

    assert.deepEqual((await happened(socket, 2)).slice(1), ["close 3001 done clean"]);
    assert.equal(socket.readyState, 3);
  });

  test("what the standard forbids throws", async () => {
    const socket = await opened();
    assert.throws(() => tab.open("poll").send("a"), { name: "InvalidStateError" });
    assert.throws(() => socket.send(new Uint8Array(1)), { name: "NotSupportedError" });
    assert.throws(() => socket.close(1001), { name: "InvalidAccessError" });
    assert.throws(() => socket.close(1000, "é".repeat(62)), { name: "SyntaxError" });
  });
});

describe("after a sleep", () => {
  test("a page that comes out of the back/forward cache goes on where it was", async () => {
    const { now } = Date;
    let slept = 0;
    Date.now = () => now() + slept;
    try {
      tab = new Tab();
      const socket = tab.open("sse");
      const first = await tab.next();
      first.opened().write("id: e1\ndata: one\n\n");
      await happened(socket, 2);

      tab.dispatch("pagehide", { persisted: true });
      slept = 20_000;
      tab.dispatch("pageshow", { persisted: true });
      await pass(100);
      const second = await tab.next();
      second.opened("actioncable-v1-json", true).write("id: e2\ndata: kept\n\n");
      await settled();

      assert.deepEqual([second.url.pathname, second.query.after], [first.url.pathname, "e1"]);
      assert.deepEqual(withoutPings(socket), ["open actioncable-v1-json", "one", "kept"]);
      assert.equal(tab.requests.length, 0);
    } finally {
      Date.now = now;
    }
  });

  test("what the bridge kept comes before the socket is given up", async () => {
    const { now } = Date;
    let slept = 0;
    Date.now = () => now() + slept;
    try {
      tab = new Tab();
      const socket = tab.open("poll");
      (await tab.next()).answer(200, { protocol: "actioncable-v1-json", messages: ["one"], last_event_id: "e1" });
      await happened(socket, 3);
      await tab.next();

      slept = 60_000;
      socket.close();
      const last = await tab.next();
      last.answer(200, { messages: ["kept"], last_event_id: "e2" });
      await settled();
      (await tab.next("DELETE")).answer(204);
      await happened(socket, 5);

      assert.equal(last.query.after, "e1");
      assert.deepEqual(withoutPings(socket), ["open actioncable-v1-json", "one", "kept", "close 1005  clean"]);
    } finally {
      Date.now = now;
    }
  });
});

describe("in the place of window.WebSocket", () => {
  class Native extends EventTarget {
    static CONNECTING = 0;
    static OPEN = 1;
    static CLOSING = 2;
    static CLOSED = 3;
    static made = [];
    constructor(url, protocols) {
      super();
      Object.assign(this, { url: String(url), protocols, protocol: "actioncable-v1-json" });
      Native.made.push(this);
    }
    close() {}
  }
  const load = (dataset = {}) => {
    Native.made = [];
    tab = new Tab({ native: Native, script: { dataset, src: "https://app.example/bridge/-/client.js" } });
    return globalThis.WebSocket;
  };

  test("only the URLs that it carries, and both are WebSockets", () => {
    const WebSocket = load();

    const [carried, other] = [new WebSocket("/cable?x"), new WebSocket("wss://app.example/cables")];

    assert.ok(carried instanceof WebSocket && other instanceof WebSocket);
    assert.deepEqual([carried instanceof Native, carried.url, "transport" in other], [true, "wss://app.example/cable?x", false]);
    assert.deepEqual(Object.keys(WebSocket), ["CONNECTING", "OPEN", "CLOSING", "CLOSED", "made"]);
  });

  test("another site's are left to the browser, a host of data-match's is not", () => {
    const WebSocket = load();
    const carried = (url) => "transport" in new WebSocket(url);

    assert.deepEqual(["wss://app.example:444/cable", "wss://other.example/cable?token=t"].map(carried), [true, false]);
  });

  test("the bridge's host is carried, too", () => {
    const WebSocket = load({ bridge: "https://bridge.example/" });

    assert.ok("transport" in new WebSocket("wss://bridge.example/cable"));
  });

  test("a browser that has no WebSocket goes straight to the bridge, for what it carries", async () => {
    Native.made = [];
    tab = new Tab({ native: undefined, script: { dataset: {}, src: "https://app.example/bridge/-/client.js" } });
    const { WebSocket } = globalThis;
    assert.throws(() => new WebSocket("wss://other.example/cable"), { name: "NotSupportedError" });
    const states = [];
    for (const state in WebSocket) states.push(state);
    assert.deepEqual(states, ["CONNECTING", "OPEN", "CLOSING", "CLOSED"]);

    const socket = noting(new WebSocket("/cable", ["actioncable-v1-json"]));
    (await tab.next()).opened();

    assert.deepEqual(await happened(socket, 1), ["open actioncable-v1-json"]);
    assert.deepEqual([socket.transport, socket.transportReason], ["sse", "first choice"]);
  });

  test("where a part is missing nothing is installed, and one line says so", (context) => {
    const { TextDecoder } = globalThis;
    const warn = context.mock.method(console, "warn", () => {});
    try {
      delete globalThis.TextDecoder;
      assert.equal(load(), Native);
    } finally {
      globalThis.TextDecoder = TextDecoder;
    }

    assert.equal(warn.mock.callCount(), 1);
    assert.match(warn.mock.calls[0].arguments[0], /TextDecoder/);
  });

  test("a loss of the native one is told as one of the bridge's is", async () => {
    const WebSocket = load();
    const socket = noting(new WebSocket("/cable", ["actioncable-v1-json"]));
    let asked = 0;
    globalThis.addEventListener("visibilitychange", () => (asked += 1));
    Native.made[0].onmessage({ data: "welcome" });
    await happened(socket, 2);

    Native.made[0].onclose({ code: 1006, reason: "", wasClean: false });
    await happened(socket, 4);
    await pass(1000);

    assert.equal(asked, 1);
  });

  test("so is one that the client gave up because it was silent", async () => {
    const { now } = Date;
    let silent = 0;
    Date.now = () => now() + silent;
    try {
      const WebSocket = load();
      const socket = noting(new WebSocket("/cable", ["actioncable-v1-json"]));
      let asked = 0;
      globalThis.addEventListener("visibilitychange", () => (asked += 1));
      Native.made[0].onmessage({ data: "welcome" });
      await happened(socket, 2);

      silent = 7_000;
      socket.close();
      const next = noting(new WebSocket("/cable", ["actioncable-v1-json"]));
      Native.made[1].onclose({ code: 1006, reason: "", wasClean: false });
      // Neither does the bridge answer.
      for (let transports = 0; transports < 2; transports += 1) (await tab.next()).breaks();
      await happened(next, 2);
      await pass(1000);

      assert.equal(asked, 1);
    } finally {
      Date.now = now;
    }
  });

  test("data-match says which", () => {
    const WebSocket = load({ match: "^wss://live\\." });

    assert.ok("transport" in new WebSocket("wss://live.example/socket"));
    assert.ok(!("transport" in new WebSocket("wss://app.example/cable")));
  });

  test("the native one comes first; open waits for the server's first word", async () => {
    const WebSocket = load();
    const socket = noting(new WebSocket("/cable", ["actioncable-v1-json"]));
    const [native] = Native.made;

    native.onopen();
    await settled();
    assert.equal(socket.readyState, 0);
    native.onmessage({ data: "welcome" });

    assert.deepEqual(await happened(socket, 2), ["open actioncable-v1-json", "welcome"]);
    assert.equal(socket.transport, "websocket");
  });

  test("where it is refused the bridge carries on", async () => {
    const WebSocket = load();
    const socket = noting(new WebSocket("/cable", ["actioncable-v1-json"]));

    Native.made[0].onclose({ code: 1006, wasClean: false });
    const request = await tab.next();
    request.opened();

    assert.deepEqual(await happened(socket, 1), ["open actioncable-v1-json"]);
    assert.equal(request.url.href.startsWith("https://app.example/bridge/"), true);
    assert.equal(socket.transportReason, "first choice; websocket: refused");
  });
});
