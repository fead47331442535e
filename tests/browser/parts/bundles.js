// What a build step makes of clients that come as modules, as esbuild or Vite do for an application.

import { build, transform } from "esbuild";
import { join } from "node:path";
import { here } from "./places.js";

const made = new Map();

/** The text of one bundle; `pages/bundled/NAME` is what the application imports from. `target` is an old browser. */
export function bundle(name, target) {
  const key = `${name} ${target}`;
  if (!made.has(key)) made.set(key, make(name, target ?? "esnext"));
  return made.get(key);
}

/** One script, in the words of an old browser. */
export async function translated(text, target) {
  return target ? (await transform(text, { target })).code : text;
}

async function make(name, target) {
  const entry = join(here, "pages/bundled", name);
  const result = await build({ entryPoints: [entry], bundle: true, write: false, format: "esm", logLevel: "error", target });
  return result.outputFiles[0].text;
}
