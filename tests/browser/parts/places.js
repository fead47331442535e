// Where things are.

import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

export const here = fileURLToPath(new URL("..", import.meta.url));
export const repository = resolve(here, "../..");
export const target = resolve(repository, process.env.CARGO_TARGET_DIR ?? "target");

const NAME = "actioncable-to-eventsource";

/** The bridge's binary: BRIDGE names it, else the release build, else the debug build. */
export function bridgeBinary() {
  const places = [process.env.BRIDGE, join(target, "release", NAME), join(target, "debug", NAME)];
  const found = places.find((place) => place && existsSync(place));
  if (!found) throw new Error(`no bridge to test: cargo build --release, or set BRIDGE to the binary`);
  return found;
}
