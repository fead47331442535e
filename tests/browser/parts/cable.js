// A cable server that says what a test wants said, byte for byte: Rails would not say half of it.

import { once } from "node:events";
import { WebSocketServer } from "ws";

export class Cable {
  #server;
  #subscribed = [];

  static async start() {
    const cable = new Cable();
    cable.#server = new WebSocketServer({ port: 0, host: "127.0.0.1", handleProtocols: () => "actioncable-v1-json" });
    cable.#server.on("connection", (socket) => cable.#serve(socket));
    await once(cable.#server, "listening");
    cable.url = `ws://127.0.0.1:${cable.#server.address().port}/cable`;
    return cable;
  }

  #serve(socket) {
    socket.send('{"type":"welcome"}');
    const pings = setInterval(() => socket.send('{"type":"ping","message":1}'), 2_000);
    socket.on("close", () => clearInterval(pings)).on("error", () => {});
    socket.on("message", (text) => {
      const { command, identifier } = JSON.parse(text);
      if (command !== "subscribe") return;
      socket.send(JSON.stringify({ identifier, type: "confirm_subscription" }));
      this.#subscribed.push([socket, identifier]);
    });
  }

  get subscribed() {
    return this.#subscribed.length;
  }

  /** Sends this JSON as the message of each channel. */
  message(json) {
    for (const [socket, identifier] of this.#subscribed) {
      socket.send(`{"identifier":${JSON.stringify(identifier)},"message":${json}}`);
    }
  }

  stop() {
    for (const socket of this.#server.clients) socket.terminate();
    return new Promise((resolve) => this.#server.close(resolve));
  }
}
