// EventSources as the README has applications write them, without client.js, in a page of the application.
//
// Each has a session of its own, and does what a `joined` with `"resumed":false` asks for: it subscribes again.

const JOINED_MS = 20_000;

/** Opens so many of them, all in this room. */
export async function openPlain(tab, count, room) {
  await tab.run(inPage, count, room);
  await tab.until("all have joined", JOINED_MS, () => window.plain.every(({ joined }) => joined.length > 0));
}

/** Each one's path on the bridge, what `joined` told it, and the texts that it received. */
export function plainOnes(tab) {
  return tab.run(() => window.plain.map(({ path, joined, texts, state }) => ({ path, joined, texts, closed: state() === 2 })));
}

/** The status of a POST to one of their sessions, which does nothing. */
export function post(tab, path) {
  return tab.run(async (path) => {
    const body = JSON.stringify([{ identifier: { channel: "nobody's" }, unsubscribe: true }]);
    return (await fetch(`/bridge${path}`, { method: "POST", body })).status;
  }, path);
}

function inPage(count, room) {
  const subscribe = JSON.stringify([{ identifier: { channel: "ChatChannel", room }, subscribe: true }]);

  function open() {
    const path = `/${crypto.randomUUID()}`;
    const source = new EventSource(`/bridge${path}`);
    const one = { path, joined: [], texts: [], state: () => source.readyState };
    source.onmessage = async ({ data }) => {
      const { type, resumed, message } = JSON.parse(data);
      if (type === "received" && "text" in message) one.texts.push(message.text);
      if (type !== "joined") return;
      one.joined.push(resumed);
      if (!resumed) await fetch(`/bridge${path}`, { method: "POST", body: subscribe });
    };
    return one;
  }

  window.plain = [...(window.plain ?? []), ...Array.from({ length: count }, open)];
}
