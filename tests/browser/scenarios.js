// What an application does over its cable, and what it is told: one function a scenario, run inside of a tab.
//
// Each returns when the last thing it waits for has come. "Nothing comes" is shown by something that was sent
// after it and has come. `tells` is the order of the callbacks that ActionCable promises, by subscription.

const PATIENCE_MS = 20_000;
/** The clients come back a few seconds after a loss, at random. */
const RECONNECT_MS = 40_000;

const called = (label, callback, times) => window.chat.count(label, callback) >= times;

function told(tab, label, callback, times = 1, within = PATIENCE_MS) {
  return tab.until(`${label} is told ${callback} (${times})`, within, called, label, callback, times);
}

function subscribe(tab, label, room) {
  return tab.run((label, room) => window.chat.subscribe(label, room), label, room);
}

function perform(tab, label, action, data) {
  return tab.run((label, action, data) => window.chat.perform(label, action, data), label, action, data);
}

async function subscribed(tab, room, label = "chat") {
  await subscribe(tab, label, room);
  await told(tab, label, "connected");
}

const triedByItself = () => window.chat.consumer.connection.monitor.reconnectAttempts > 0;

export { perform, subscribe, subscribed, told };

const GREETED = ["initialized", "received", "connected"];

export const scenarios = [
  {
    name: "subscribe and greet",
    tells: { chat: GREETED },
    run: ({ tab, room }) => subscribed(tab, room),
  },
  {
    name: "speak",
    tells: { chat: [...GREETED, "received", "received"] },
    async run({ tab, room }) {
      await subscribed(tab, room);
      for (const [number, text] of ["one", "zwei ☎ \u2028 <b>"].entries()) {
        await perform(tab, "chat", "speak", { text });
        await told(tab, "chat", "received", number + 2);
      }
    },
  },
  {
    name: "500 messages in order",
    tells: { chat: [...GREETED, ...Array(500).fill("received")] },
    async run({ tab, room }) {
      await subscribed(tab, room);
      await perform(tab, "chat", "burst", { count: 500 });
      await told(tab, "chat", "received", 501);
    },
  },
  {
    name: "rejected room",
    tells: { rejected: ["initialized", "rejected"], chat: GREETED },
    async run({ tab, room }) {
      await subscribe(tab, "rejected", "rejected");
      await told(tab, "rejected", "rejected");
      await subscribed(tab, room);
    },
  },
  {
    name: "unauthorized cookie",
    user: "banned",
    // It does not know that it was refused, and comes back for ever.
    notIn: ["actioncable-5.2"],
    tells: { chat: ["initialized", "disconnected"] },
    async run({ tab, room }) {
      await subscribe(tab, "chat", room);
      await told(tab, "chat", "disconnected");
      await tab.until("the client gives up", PATIENCE_MS, () => !window.chat.consumer.connection.monitor.isRunning());
    },
  },
  {
    name: "server restart",
    tells: { chat: [...GREETED, "disconnected", "received", "connected"] },
    prepare: ({ tab, room }) => subscribed(tab, room),
    together: ({ rails }) => rails.restart(),
    run: ({ tab }) => told(tab, "chat", "connected", 2, RECONNECT_MS),
  },
  {
    name: "the server ends and comes back",
    slow: true,
    tells: { chat: [...GREETED, "disconnected", "received", "connected"] },
    prepare: ({ tab, room }) => subscribed(tab, room),
    together: ({ rails }) => rails.stop(),
    async run({ tab, rails, last }) {
      await told(tab, "chat", "disconnected");
      // Back before that, one whose tab was nudged would say `reconnected: false`, and the others `true`.
      await tab.until("ActionCable's own watch has tried", RECONNECT_MS, triedByItself);
      await last("start", () => rails.startAgain());
      await told(tab, "chat", "connected", 2, RECONNECT_MS);
    },
  },
  {
    name: "remote disconnect",
    tells: { chat: [...GREETED, "disconnected", "received", "connected"] },
    prepare: ({ tab, room }) => subscribed(tab, room),
    together: ({ rails, user }) => rails.disconnect(user),
    run: ({ tab }) => told(tab, "chat", "connected", 2, RECONNECT_MS),
  },
  {
    name: "unsubscribe",
    tells: { left: GREETED, chat: [...GREETED, "received"] },
    async run({ tab, room, rails }) {
      await subscribed(tab, `${room}-left`, "left");
      await subscribed(tab, room);
      await tab.run(() => window.chat.subscriptions.left.unsubscribe());
      await rails.broadcast(`${room}-left`, "to nobody");
      await rails.broadcast(room, "to the one that stayed");
      await told(tab, "chat", "received", 2);
    },
  },
  {
    name: "consumer.disconnect",
    tells: { chat: [...GREETED, "disconnected", "received", "connected"] },
    async run({ tab, room }) {
      await subscribed(tab, room);
      await tab.run(() => window.chat.consumer.disconnect());
      await told(tab, "chat", "disconnected");
      await tab.run(() => window.chat.consumer.connect());
      await told(tab, "chat", "connected", 2, RECONNECT_MS);
    },
  },
];
