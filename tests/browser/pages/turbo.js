// Watches what Turbo does to the page: the texts of the list, and when the first one came.

const startedAt = performance.now();
const list = document.getElementById("messages");

window.turbo = {
  firstMessageMs: null,
  messages: () => [...list.children].map((item) => item.textContent),
};

new MutationObserver(() => {
  window.turbo.firstMessageMs ??= performance.now() - startedAt;
}).observe(list, { childList: true });
