// What came, line by line, for the panes of the page.

// Lines kept on the page; a clock that ticks for days must not fill the memory.
const LINES = 500

const parts = { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 }
const time = new Intl.DateTimeFormat("en-GB", parts)

export const clock = () => time.format()

export const clear = (log) => log.replaceChildren()

export function note(log, kind, text) {
  const line = document.createElement("li")
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 8
  line.className = kind
  for (const [name, content] of [["time", clock()], ["b", kind], ["span", text]]) {
    // With spaces between, a line that is copied is one line.
    line.append(Object.assign(document.createElement(name), { textContent: content }), " ")
  }
  log.append(line)
  while (log.children.length > LINES) log.firstChild.remove()
  if (atEnd) log.scrollTop = log.scrollHeight
}
