// The page that tries the transport: it speaks the cable's protocol by hand, so that all of it can be seen.
import client from "./client.mjs"
import { clear, clock, note as line } from "./log.js"

const $ = (id) => document.getElementById(id)
const page = new URL("/cable", location)
page.protocol = page.protocol.replace("http", "ws")
$("url").value = page.href

// Rails answers what it does not understand with nothing at all.
const ANSWER = 4000

let socket, refusal, waiting

$("connection").addEventListener("submit", (event) => {
  event.preventDefault()
  connect()
})
$("disconnect").addEventListener("click", () => socket?.close())
$("subscription").addEventListener("submit", (event) => {
  event.preventDefault()
  command("subscribe")
})
$("unsubscribe").addEventListener("click", () => command("unsubscribe"))
$("message").addEventListener("submit", (event) => {
  event.preventDefault()
  if (isJson($("data"))) command("message", { data: $("data").value })
})
$("clear").addEventListener("click", () => clear($("log")))
for (const id of ["identifier", "data"]) $(id).addEventListener("input", () => $(id).setCustomValidity(""))

function connect() {
  const WebSocket = client({ transport: $("transport").value || undefined })
  try {
    socket = new WebSocket($("url").value, ["actioncable-v1-json", "actioncable-unsupported"])
  } catch (error) {
    return note("note", error.message)
  }
  const mine = socket
  refusal = ""
  const show = (state) => mine === socket && showState(state)
  show("connecting")
  mine.onopen = () => {
    note("note", `open, subprotocol ${mine.protocol}`)
    show("open")
  }
  mine.onmessage = ({ data }) => {
    show("open")
    if (data.startsWith('{"type":"ping"')) return void ($("ping").textContent = clock())
    note("got", data)
    hear(JSON.parse(data))
  }
  mine.onclose = ({ code, reason }) => {
    note("note", `closed, code ${code} ${reason}`)
    show("closed")
  }
}

function hear({ type, reason, identifier }) {
  if (type === "disconnect") refusal = `the server refused: ${reason}`
  if (identifier === waiting?.identifier) clearTimeout(waiting?.timer)
  if (type === "reject_subscription") note("note", "the channel's `subscribed` rejected it")
}

function expectAnswer(identifier) {
  clearTimeout(waiting?.timer)
  const timer = setTimeout(() => note("note", "no answer: Rails says nothing where it knows no such channel, or `subscribed` " +
    "raised an error. Its log tells which: log/production.log, or what puma prints"), ANSWER)
  waiting = { identifier, timer }
}

function command(name, more) {
  if (!isJson($("identifier"))) return
  const text = JSON.stringify({ command: name, identifier: $("identifier").value, ...more })
  socket.send(text)
  note("sent", text)
  if (name === "subscribe") expectAnswer($("identifier").value)
}

// The browser says at the field what is wrong with it.
function isJson(field) {
  try {
    JSON.parse(field.value)
    return true
  } catch (error) {
    field.setCustomValidity(error.message)
    return field.reportValidity()
  }
}

function showState(state) {
  const names = { websocket: "WebSocket", sse: "Server-Sent Events", poll: "long poll" }
  set("state", state)
  set("used", names[socket.transport] ?? "none")
  set("why", refusal || socket.transportReason)
  const open = state === "open"
  const focused = document.activeElement
  $("connect").disabled = state !== "closed"
  $("disconnect").disabled = state === "closed"
  for (const id of ["subscribe", "unsubscribe", "send"]) $(id).disabled = !open
  if (state === "closed") clearTimeout(waiting?.timer)
  // A button that is disabled loses the focus: to the one that takes its place.
  const successor = { connect: "disconnect", disconnect: "connect" }[focused?.id]
  if (focused?.disabled && successor) $(successor).focus()
}

// Only what changed: a screen reader says it each time.
function set(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text
}

function note(kind, text) {
  line($("log"), kind, text)
}
