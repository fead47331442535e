// Numbered broadcasts to one room, one after the other, from Rails: the traffic under which something is taken away.

import { setTimeout as later } from "node:timers/promises";

export class News {
  #rails;
  #room;
  #every;
  #stopped = false;
  #done;

  /** How many were broadcast. */
  last = 0;

  /** One each `every` milliseconds, or as often as Rails takes them. */
  static start(rails, room, every) {
    const news = new News();
    news.#rails = rails;
    news.#room = room;
    news.#every = every;
    news.#done = news.#run();
    return news;
  }

  async #run() {
    while (!this.#stopped) {
      await this.#rails.broadcast(this.#room, String(this.last + 1));
      this.last += 1;
      await later(this.#every);
    }
  }

  async stop() {
    this.#stopped = true;
    await this.#done;
  }
}
