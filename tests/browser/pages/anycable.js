// An application with @anycable/web, from an import map, that writes down what it is told.

import { createCable } from "@anycable/web";

const startedAt = performance.now();
const cable = createCable();

window.anycable = { events: [], messages: [], firstMessageMs: null };

for (const event of ["connect", "disconnect", "close"]) {
  cable.on(event, (details) => window.anycable.events.push([event, details?.reason ?? null]));
}

window.anycable.subscribe = (room) => {
  const channel = cable.subscribeTo("ChatChannel", { room });
  for (const event of ["connect", "disconnect", "close"]) {
    channel.on(event, () => window.anycable.events.push([`channel ${event}`]));
  }
  channel.on("message", (message) => {
    window.anycable.firstMessageMs ??= performance.now() - startedAt;
    window.anycable.messages.push(message);
  });
  window.anycable.perform = (action, data) => channel.perform(action, data);
};
