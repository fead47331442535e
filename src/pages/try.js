// The page that tries the transport: it speaks the cable's protocol by hand, so that all of it can be seen.
import client from "./client.mjs"
import { clear, clock, note as line } from "./log.js"

const $ = (id) => document.getElementById(id)
const page = new URL("/cable", location)
page.protocol = page.protocol.replace("http", "ws")
$("url").value = page.href

let socket

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
  const show = (state) => mine === socket && showState(state)
  show("connecting")
  mine.onopen = () => {
    note("note", `open, subprotocol ${mine.protocol}`)
    show("open")
  }
  mine.onmessage = ({ data }) => {
    show("open")
    if (data.startsWith('{"type":"ping"')) $("ping").textContent = clock()
    else note("got", data)
  }
  mine.onclose = ({ code, reason }) => {
    note("note", `closed, code ${code} ${reason}`)
    show("closed")
  }
}

function command(name, more) {
  if (!isJson($("identifier"))) return
  const text = JSON.stringify({ command: name, identifier: $("identifier").value, ...more })
  socket.send(text)
  note("sent", text)
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
  const roads = { websocket: "WebSocket", sse: "Server-Sent Events", poll: "long poll" }
  set("state", state)
  set("road", roads[socket.transport] ?? "none")
  set("why", socket.transportReason)
  const open = state === "open"
  $("connect").disabled = state !== "closed"
  $("disconnect").disabled = state === "closed"
  for (const id of ["subscribe", "unsubscribe", "send"]) $(id).disabled = !open
}

// Only what changed: a screen reader says it each time.
function set(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text
}

function note(kind, text) {
  line($("log"), kind, text)
}
