// Those who hear the news: plain EventSources of one page, and pages with client.js. What each heard, and when it was back.

import { plainOnes } from "./plain.js";
import { until } from "./wait.js";

export class Audience {
  #plain;
  #tabs;

  /** `plain` is the tab with the EventSources, `tabs` are those with client.js, by name. */
  constructor(plain, tabs) {
    this.#plain = plain;
    this.#tabs = tabs;
  }

  /** The numbers that each has heard so far, in the order in which they came. */
  async heard() {
    const all = {};
    for (const { path, texts } of await plainOnes(this.#plain)) all[path] = texts.map(Number);
    for (const [name, tab] of Object.entries(this.#tabs)) {
      all[name] = await tab.run(() => window.chat.values("chat", "text").map(Number));
    }
    return all;
  }

  /** Waits until everybody has heard something over `number`; after how many ms, from now on, each had. */
  async hears(number, within) {
    const started = Date.now();
    const took = {};
    const look = async () => {
      const heard = Object.entries(await this.heard());
      for (const [name, numbers] of heard) if (Math.max(...numbers) > number) took[name] ??= Date.now() - started;
      return heard.every(([name]) => name in took);
    };
    const late = (error) => {
      throw new Error(`${error.message}; back are ${JSON.stringify(took)}`);
    };
    await until(`everybody hears something over ${number}`, within, look).catch(late);
    return took;
  }
}

/** The slowest of the plain ones and each page, for people. */
export function figures(took) {
  const plain = Object.entries(took).filter(([who]) => who.startsWith("/"));
  const pages = Object.entries(took).filter(([who]) => !who.startsWith("/"));
  const slowest = Math.max(...plain.map(([, ms]) => ms));
  return [...pages.map(([who, ms]) => `client.js by ${who} ${ms} ms`), `${plain.length} EventSources ${slowest} ms`].join(", ");
}

/** The numbers between the first and the last that are not among them. */
export function missingOf(numbers) {
  const there = new Set(numbers);
  const [first, last] = [Math.min(...numbers), Math.max(...numbers)];
  return Array.from({ length: last - first }, (_, at) => first + at).filter((number) => !there.has(number));
}
