// What tests measured, written down by them and printed by the runner: the time to the first message, client by road by
// network; and what a page with the tag costs beside the browser's own WebSocket (yardstick.test.js).

import { appendFileSync, readFileSync } from "node:fs";

const file = process.env.TIMINGS;

/** Notes one measurement. Without TIMINGS, a file's name, it is printed at once. */
export function note(measurement) {
  const line = JSON.stringify(measurement);
  if (file) appendFileSync(file, `${line}\n`);
  else console.log(line);
}

const measurements = (path) => readFileSync(path, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line));

/** One line a page beside the native one. */
export function comparison(path) {
  const columns = ["browser", "network", "road", "transport", "first", "silence", "lost", "doubled"];
  const rows = measurements(path).filter((row) => "silence" in row);
  return lines([columns, columns.map(() => "---"), ...rows.map((row) => columns.map((column) => row[column] ?? ""))]);
}

const lines = (rows) => rows.map((cells) => `| ${cells.join(" | ")} |`).join("\n");

/** The table of the other measurements; several of one cell are its median. */
export function table(path) {
  const rows = new Map();
  const networks = new Set();
  for (const { browser, client, road, network, ms } of measurements(path)) {
    if (!client) continue;
    networks.add(network);
    const name = `${browser} | ${client} | ${road}`;
    if (!rows.has(name)) rows.set(name, new Map());
    const cells = rows.get(name);
    cells.set(network, [...(cells.get(network) ?? []), ms]);
  }
  const columns = [...networks];
  const body = [...rows].map(([name, cells]) => [name, ...columns.map((column) => cell(cells.get(column)))]);
  const head = ["browser | client | road", ...columns];
  return lines([head, head.map((title, at) => (at === 0 ? "--- | --- | ---" : "--:")), ...body]);
}

function cell(values) {
  if (!values) return "";
  const sorted = [...values].sort((one, other) => one - other);
  return `${Math.round(sorted[Math.floor(sorted.length / 2)])}`;
}

if (process.argv[1] === import.meta.filename) {
  console.log(`${table(process.argv[2])}\n\nBeside the browser's own WebSocket, in ms and messages:\n\n${comparison(process.argv[2])}`);
}
