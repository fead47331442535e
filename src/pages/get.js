// The second pane of the page: one GET. It makes the URL from an identifier, and opens a plain EventSource on it.

import { clear, note } from "./log.js"

const $ = (id) => document.getElementById(id)

// What the bridge sends with a name of its own; the rest of them only where the stream is raw.
const NAMED = ["upstream", "dropped", "replaced", "joined", "connected", "rejected", "disconnected"]

// `randomUUID` is there on HTTPS and on this machine alone.
const id = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("")

let source

show()
for (const field of ["get-identifier", "get-raw"]) $(field).addEventListener("input", show)
$("get").addEventListener("submit", (event) => {
  event.preventDefault()
  open()
})
$("get-close").addEventListener("click", close)
$("get-copy").addEventListener("click", copy)
$("get-clear").addEventListener("click", () => clear($("get-log")))

// What only has a name can be written shorter. A quote would end the shell's.
function url() {
  const identifier = JSON.parse($("get-identifier").value)
  const { channel, ...rest } = identifier
  const short = typeof channel === "string" && channel && Object.keys(rest).length === 0
  const query = short ? `channel=${encodeURIComponent(channel)}` : `identifier=${encodeURIComponent($("get-identifier").value)}`
  return new URL(`../${id}?${query}${$("get-raw").checked ? "&raw=1" : ""}`, location).href.replaceAll("'", "%27")
}

function show() {
  const field = $("get-identifier")
  field.setCustomValidity("")
  try {
    $("get-curl").textContent = `curl -N -H 'Accept: text/event-stream' '${url()}'`
  } catch (error) {
    field.setCustomValidity(error.message)
  }
}

function open() {
  close()
  source = new EventSource(url())
  const mine = source
  const log = $("get-log")
  const says = ({ type, data }) => note(log, "got", type === "message" ? data : `${type}: ${data}`)
  mine.onopen = () => state("open")
  mine.onerror = () => state(mine.readyState === EventSource.CLOSED ? "refused: curl shows why" : "comes back by itself")
  for (const name of ["message", ...NAMED]) mine.addEventListener(name, says)
  state("connecting")
  $("get-close").disabled = false
}

function close() {
  source?.close()
  $("get-close").disabled = true
  state("closed")
}

function state(text) {
  $("get-state").textContent = text
}

async function copy() {
  try {
    await navigator.clipboard.writeText($("get-curl").textContent)
  } catch {
    getSelection().selectAllChildren($("get-curl"))
  }
}
