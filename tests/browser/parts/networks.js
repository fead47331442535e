// The networks that a user may sit behind, by name, and what each asks of the bridge.
//
// `roads`: what can work there at all. `unseen`: a session survives there, so the application must hear of no
// disconnect; a WebSocket that is cut is gone, as without the bridge. `extra`: what it costs at best, in ms.

const ALL = ["websocket", "sse", "poll"];
const HTTP = ["sse", "poll"];
const POLL = ["poll"];

/** Cut in mid-stream, a road comes back within two rounds or so. */
const CUT_MS = 5_000;

export const networks = {
  good: { faults: {}, roads: ALL },
  "no upgrade": { faults: { noUpgrade: true }, roads: HTTP },
  buffer: { faults: { buffer: true }, roads: ["websocket", "poll"] },
  "no upgrade, buffer": { faults: { noUpgrade: true, buffer: true }, roads: POLL },
  cut: { faults: { cut: CUT_MS }, roads: ALL, extra: 4_000, websocketDies: true },
  "no upgrade, cut": { faults: { noUpgrade: true, cut: CUT_MS }, roads: HTTP, extra: 4_000 },
  "HTTP/1.0": { faults: { http10: true }, roads: HTTP },
  "HTTP/1.0, buffer": { faults: { http10: true, buffer: true }, roads: POLL },
  delay: { faults: { delay: 300 }, roads: ALL, extra: 4_000 },
  "no upgrade, delay": { faults: { noUpgrade: true, delay: 300 }, roads: HTTP, extra: 4_000 },
  dropped: { faults: {}, drop: 10_000, roads: ALL, extra: 12_000, websocketDies: true },
  "no upgrade, dropped": { faults: { noUpgrade: true }, drop: 10_000, roads: HTTP, extra: 12_000 },
  cache: { faults: { cache: true }, roads: ALL },
  "no upgrade, cache": { faults: { noUpgrade: true, cache: true }, roads: HTTP },
  "all at once": {
    faults: { noUpgrade: true, buffer: true, cut: CUT_MS, delay: 300, cache: true },
    roads: POLL,
    extra: 15_000,
  },
};
