// Everything behind the browser: Rails, the bridge before it, and the application's site before both.

import { Bridge } from "./bridge.js";
import { Rails } from "./rails.js";
import { Site } from "../site.js";

export class World {
  #rooms = 0;

  static async start(version = "7.2", ...options) {
    const world = new World();
    try {
      world.rails = await Rails.start(version);
      world.bridge = await Bridge.start("-s", `ws://127.0.0.1:${world.rails.port}/cable`, ...options);
      world.site = await Site.start(world);
    } catch (error) {
      await world.stop();
      throw error;
    }
    return world;
  }

  /** A room that nobody was in before. */
  room() {
    this.#rooms += 1;
    return `room-${this.#rooms}`;
  }

  async stop() {
    for (const part of [this.site, this.bridge, this.rails]) await part?.stop();
  }
}

/** The address of a page of the application. */
export function pageAt(url, { client = "actioncable-8.1", road = "auto", user = "anna", room = "lobby" }) {
  return `${url}/page?${new URLSearchParams({ client, road, user, room })}`;
}
