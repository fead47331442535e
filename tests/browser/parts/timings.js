// The time to the first message, client by road by network: written down by tests, printed by the runner.

import { appendFileSync, readFileSync } from "node:fs";

const file = process.env.TIMINGS;

/** Notes one measurement. Without TIMINGS, a file's name, it is printed at once. */
export function note(measurement) {
  const line = JSON.stringify(measurement);
  if (file) appendFileSync(file, `${line}\n`);
  else console.log(line);
}

/** The table of all measurements in this file; several of one cell are its median. */
export function table(path) {
  const rows = new Map();
  const networks = new Set();
  for (const line of readFileSync(path, "utf8").split("\n").filter(Boolean)) {
    const { browser, client, road, network, ms } = JSON.parse(line);
    networks.add(network);
    const name = `${browser} | ${client} | ${road}`;
    if (!rows.has(name)) rows.set(name, new Map());
    const cells = rows.get(name);
    cells.set(network, [...(cells.get(network) ?? []), ms]);
  }
  const columns = [...networks];
  const lines = [...rows].map(([name, cells]) => [name, ...columns.map((column) => cell(cells.get(column)))]);
  const head = ["browser | client | road", ...columns];
  return [head, head.map((title, at) => (at === 0 ? "--- | --- | ---" : "--:")), ...lines]
    .map((line) => `| ${line.join(" | ")} |`)
    .join("\n");
}

function cell(values) {
  if (!values) return "";
  const sorted = [...values].sort((one, other) => one - other);
  return `${Math.round(sorted[Math.floor(sorted.length / 2)])}`;
}

if (process.argv[1] === import.meta.filename) console.log(table(process.argv[2]));
