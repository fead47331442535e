// What a build step makes of clients that come as modules, as esbuild or Vite do for an application.

import { build } from "esbuild";
import { join } from "node:path";
import { here } from "./places.js";

const made = new Map();

/** The text of one bundle; `pages/NAME` is what the application imports from. */
export function bundle(name) {
  if (!made.has(name)) made.set(name, make(name));
  return made.get(name);
}

async function make(name) {
  const entry = join(here, "pages/bundled", name);
  const result = await build({ entryPoints: [entry], bundle: true, write: false, format: "esm", logLevel: "error" });
  return result.outputFiles[0].text;
}
