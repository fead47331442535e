// What an application does with a message.

window.shown = [];
window.show = (message) => window.shown.push(message.text ?? "hello");
