// An application with @rails/actioncable, any version, that writes down what it is told.
//
// `chat.transcript` is a list of [label, callback, ...arguments], in order; the label is the test's name
// for the subscription. `chat.firstMessageMs` is the time from `createConsumer` to the first message.

window.chat = {
  transcript: [],
  subscriptions: {},
  firstMessageMs: null,

  subscribe(label, room) {
    this.start();
    const note = (callback, details) => this.note(label, callback, details);
    this.subscriptions[label] = this.consumer.subscriptions.create(
      { channel: "ChatChannel", room },
      {
        initialized: () => note("initialized", []),
        connected: (...details) => note("connected", details),
        received: (...details) => note("received", details),
        rejected: (...details) => note("rejected", details),
        disconnected: (...details) => note("disconnected", details),
      },
    );
  },

  start() {
    if (this.consumer) return;
    this.startedAt = performance.now();
    this.consumer = ActionCable.createConsumer();
  },

  note(label, callback, details) {
    if (callback === "received") this.firstMessageMs ??= performance.now() - this.startedAt;
    this.transcript.push([label, callback, ...details]);
  },

  perform(label, action, data) {
    return this.subscriptions[label].perform(action, data);
  },

  /** How many times this subscription was called back so. */
  count(label, callback) {
    return this.transcript.filter((entry) => entry[0] === label && entry[1] === callback).length;
  },

  /** The messages of this subscription that have this key. */
  values(label, key) {
    return this.transcript
      .filter(([who, callback, data]) => who === label && callback === "received" && key in data)
      .map((entry) => entry[2][key]);
  },
};
