// WebSockets over any network, for unchanged clients of ActionCable, Turbo, GraphQL and AnyCable. Loaded before them,
//   <script src="https://bridge.example/-/client.js"></script>
// puts a look-alike in place of `window.WebSocket` for the URLs that it carries. Attributes (defaults):
//   data-bridge     base URL of the bridge (where the script came from)
//   data-match      regular expression for the URL without its query (/cable$)
//   data-transport  the roads to try, in order (websocket sse poll)
// `/-/client.mjs` replaces nothing; its default export makes a class: `adapters.WebSocket = client({ bridge, transport })`.
// A socket's `transport` and `transportReason` say which road it is on, and why. Times are in ms.
var bridgeWebSocket = globalThis.bridgeWebSocket || (() => {
const [CONNECTING, OPEN, CLOSING, CLOSED] = [0, 1, 2, 3]
const ROADS = ["websocket", "sse", "poll"]
const FIRST_EVENT = 3000 // Nothing by then: something buffers.
const MEND = 30000 // So long the bridge keeps a session (--resume-window).
const REMEMBER = 300000 // Then failed roads get another chance.
const SLOTS = 3 // Of a browser's six connections over HTTP/1.1, for all tabs.
const BATCH = 20000 // UTF-16 units; all `keepalive` requests share 64 KiB.
const KEY = "actioncable-bridge"
const CABLE = /^actioncable-v1/
const { WebSocket: Native, document, location } = globalThis
const wakes = new Set()
let lost = -MEND, nudging // When a session last was.

const now = () => performance.now()
const pause = (time) => new Promise((done) => setTimeout(done, time))
// Random, lest all come back at once.
const backoff = (tries) => Math.min(4000, 200 * 2 ** tries) * (0.5 + Math.random() / 2)

// Each event is a task of its own, as natively. A background tab's timers are slow.
const tasks = [], { port1, port2 } = new MessageChannel()
port1.onmessage = () => tasks.shift()()
const later = (task) => port2.postMessage(tasks.push(task))

// ActionCable's monitor looks 7 to 17 s after a loss, or when the page is shown: said to the window, where it listens.
function nudge() {
  clearTimeout(nudging)
  const look = () => document?.hidden || dispatchEvent(new Event("visibilitychange"))
  if (now() - lost < MEND) nudging = setTimeout(look, (now() - lost) / 4 + backoff(2))
}

function plan(transport) {
  if (transport) return [transport.split(/[\s,]+/), "as configured"]
  try {
    const [until, road, why] = JSON.parse(sessionStorage[KEY])
    if (road && Date.now() < until) return [ROADS.slice(ROADS.indexOf(road)), `remembered: ${why}`]
  } catch {} // Nothing is remembered, or nothing may be.
  return [ROADS, "first choice"]
}

function remember(...choice) {
  try { sessionStorage[KEY] = JSON.stringify([Date.now() + REMEMBER, ...choice]) } catch {}
}

function fields(block) {
  const all = {}
  for (const [, name, value] of block.matchAll(/^(\w+): ?([^\n]*)/gm)) all[name] = name in all ? `${all[name]}\n${value}` : value
  return all
}

// The native WebSocket: what breaks it ends it.
function direct(host) {
  let socket, since
  try { socket = new Native(host.url, host.protocols) } catch ({ message }) { return { opening: { message, blame: true } } }
  socket.opening = new Promise((resolve) => {
    socket.end = (message) => {
      if (since) return socket.close()
      socket.onopen = socket.onmessage = socket.onclose = null
      socket.close()
      resolve({ message, blame: true })
    }
    const timer = setTimeout(socket.end, FIRST_EVENT, "nothing came in 3 s")
    const open = () => {
      clearTimeout(timer)
      if (!since) resolve(host.opened(socket.protocol))
      since ??= now()
    }
    // A proxy may pass the handshake only; an ActionCable server speaks first.
    socket.onopen = () => CABLE.test(socket.protocol) || open()
    socket.onmessage = ({ data }) => host.message(data, open())
    socket.onclose = (event) => {
      if (event.wasClean) open()
      if (!since) return socket.end("refused")
      if (event.code === 1006 && now() - since < MEND) remember("sse", "websocket: broke early")
      host.closed(event)
    }
  })
  return socket
}

// A session on the bridge: GETs carry frames down, POSTs up. What breaks is mended unseen while it lives.
function tunnel(host, road, why) {
  const queue = []
  let path, after = "", gets = 0, posts = 0, batch = "", pumping, opened, cable, ended, gone, broken, tries = 0
  let fallen = "", heard, timer, pings, release, settle, cut = () => {}, rise = cut

  async function run() {
    for (let busy = 0; !ended;) {
      // 128 random bits, stored nowhere: a copied tab makes its own.
      if (!opened) path = host.bridge + crypto.getRandomValues(new Uint32Array(4)).join("-")
      const bad = await get()
      if (!bad || ended) continue
      if (opened ? bad.close || bad.gone : !bad.wait || ++busy > 3) end(bad)
      else await mend(bad)
    }
  }

  // Pings keep the application's own watch content.
  async function mend({ silent, wait }) {
    if (now() - (broken ??= now()) > MEND) return end({})
    if (silent && tries && road === "sse") fallen = "streams fell silent"
    ping()
    await sleep(wait || backoff(++tries))
    ping()
  }

  // One GET. Resolves to what went wrong: `close` was told, `gone` is the session, `silent` the road, which `wait` clears.
  async function get() {
    const controller = new AbortController(), { signal } = controller
    cut = (reason = { wait: 1 }) => controller.abort(reason)
    try {
      const free = await slot(), instead = free ? fallen : "other requests are held open"
      const streams = road === "sse" && !instead
      host.uses(streams ? "sse" : "poll", instead || why)
      return await (streams ? stream(signal) : poll(signal, free))
    } catch (error) {
      return signal.reason ?? error
    } finally {
      cut()
      clearTimeout(timer)
      clearInterval(pings)
    }
  }

  // For the next byte.
  function patience(time) {
    // So it is the last to run: the application may have last words.
    removeEventListener("pagehide", leave)
    addEventListener("pagehide", leave)
    heard = now()
    clearTimeout(timer)
    timer = setTimeout(() => cut({ silent: true, message: `nothing came in ${time / 1000} s` }), time)
  }

  // By `fetch`: to an EventSource a 410 looks like no network. What runs this file reads streams.
  async function stream(signal) {
    patience(FIRST_EVENT)
    const { body } = await ask("text/event-stream", query(), { signal })
    const reader = body.pipeThrough(new TextDecoderStream()).getReader()
    let rest = "", wait, since
    for (let part; !(part = await reader.read()).done;) {
      const blocks = (rest + part.value).split("\n\n")
      rest = blocks.pop()
      for (const { event, data, id, retry } of blocks.map(fields)) {
        if (retry) wait = +retry
        if (event === "open") {
          open(JSON.parse(data))
          wait = 0
          since = now()
        } else if (event === "close") return { close: JSON.parse(data) }
        else if (data && !event) host.message(data)
        if (id) after = `&after=${id}`
        if (now() - since > 2000) tries = 0
      }
      if (since) patience(cable ? 5000 : 20000) // ActionCable pings each 3 s, the bridge is heard of after 15 s.
    }
    return { wait, message: "the stream ended" }
  }

  async function poll(signal, free) {
    const started = now()
    pings = setInterval(ping, 4500)
    patience(opened ? 8000 : 12000) // The first waits for the upstream's handshake.
    const answer = await ask("application/json", query(`&timeout=${free ? 4 : 1}`), { signal })
    const { protocol, messages: [...texts], last_event_id, close } = await answer.json()
    open({ protocol })
    texts.forEach(host.message)
    after = `&after=${last_event_id}`
    tries = 0
    ping()
    if (close) return bye(), { close }
    if (!free && gets > 1) await sleep(3000 - (now() - started))
  }

  // Ours come first and count. A `seq` is new: no cache has an answer.
  const query = (more = "") =>
    `protocol=${encodeURIComponent(host.protocols)}&seq=${++gets}${more}${after}${opened ? "" : host.query}`

  // Throws what `get` resolves to. JSON with `error` is the bridge's own word.
  async function ask(type, query, more) {
    const answer = await fetch(`${path}?${query}`, {
      headers: { Accept: type }, credentials: "include", cache: "no-store", ...more,
      referrerPolicy: "origin", // The bridge makes the Origin, which GETs may lack, of it.
    })
    const { status, headers } = answer
    if (status === 204 || status === 200 && headers.get("Content-Type")?.startsWith(type)) return answer
    const { error, close } = await answer.json().catch(() => ({}))
    const wait = status === 503 && 1000 * (headers.get("Retry-After") || 2)
    throw { message: error ?? `status ${status}, not from the bridge`, error, status, close, wait, gone: error && status < 500 }
  }

  // Whether a request may be held open: over HTTP/2, or with a lock.
  async function slot() {
    const known = performance.getEntriesByType("resource").findLast((it) => it.nextHopProtocol && it.name.startsWith(host.bridge))
    if (/^h[23]/.test(known?.nextHopProtocol)) return true
    for (let slot = 0; slot < SLOTS && navigator.locks && !release; slot++) {
      await new Promise((done) => {
        const hold = (lock) => lock && new Promise((resolve) => done(release = resolve))
        navigator.locks.request(KEY + slot, { ifAvailable: true }, hold).then(done, done)
      })
    }
    if (ended) release?.()
    return !!release
  }

  function send(text) {
    queue.push(JSON.stringify(text))
    pumping ??= pump().finally(() => { pumping = undefined })
  }

  // One POST at a time keeps order; what is sent meanwhile goes with the next.
  async function pump() {
    await null // What is sent at once shares a request.
    for (let tries = 0; (batch || queue.length) && !gone;) {
      if (await post()) tries = 0
      else if (++tries > 9) end({})
      else await pause(backoff(tries))
    }
  }

  // Whether it arrived. One sent again is known by its number.
  async function post() {
    if (!batch) {
      posts++
      batch = queue.shift()
      while (batch.length + queue[0]?.length < BATCH) batch += `\n${queue.shift()}`
    }
    const { length } = batch, signal = AbortSignal.timeout(6000 + (length >> 3))
    try {
      await ask("*/*", `protocol=&seq=${posts}`, { method: "POST", body: batch, keepalive: length < BATCH, signal })
      batch = ""
      rise()
      return true
    } catch (bad) {
      if (bad.status === 410) gone = true // The GET is told how it ended.
      else if (bad.gone) end({})
    }
  }

  // Ends the session: presence must not outlive it.
  const bye = () => ask("*/*", `protocol=&seq=${posts}`, { method: "DELETE", keepalive: true }).catch(() => {})

  function open({ protocol }) {
    broken = undefined
    if (opened) return
    opened = true
    cable = CABLE.test(protocol)
    settle(host.opened(protocol))
  }

  function ping() {
    if (cable) host.message(`{"type":"ping","message":${Math.floor(Date.now() / 1000)}}`)
  }

  function end({ close, message, error }) {
    ended = gone = true
    wakes.delete(wake)
    removeEventListener("pagehide", leave)
    cut()
    rise()
    release?.()
    if (!close && !error) bye()
    settle({ message, blame: !error })
    if (!opened) return
    if (!close) nudge(lost = now())
    host.closed(close ?? undefined)
  }

  // By the application: what it sent goes first.
  async function close(code = 1005, reason) {
    ended = true
    cut()
    await Promise.race([pause(2000), Promise.resolve(pumping).then(bye)])
    end({ close: { code, reason } })
  }

  const sleep = (time) => new Promise((resolve) => setTimeout(rise = resolve, time))

  // Computer, network or tab is back.
  function wake() {
    fallen = ""
    ping()
    if (opened && now() - heard > 5000) cut()
    rise()
  }

  // The page goes: into the back/forward cache, or for ever.
  function leave({ persisted }) {
    if (queue.length) post(batch = "")
    if (!persisted) bye()
  }

  const opening = new Promise((resolve) => { settle = resolve })
  wakes.add(wake)
  run()
  return { send, close, end, opening }
}

function resolve(url) {
  const address = new URL(url, document?.baseURI)
  address.protocol = address.protocol.replace("http", "ws")
  return address
}

class Bridged extends EventTarget {
  url = ""; protocol = ""; extensions = ""; readyState = CONNECTING; binaryType = "blob"
  onopen = null; onmessage = null; onerror = null; onclose = null
  #road

  constructor(url, protocols, bridge, transport) {
    super()
    const { href, origin, search } = resolve(url)
    for (const type of ["open", "message", "error", "close"]) this.addEventListener(type, (event) => this[`on${type}`]?.(event))
    // Later, and before the state `end`: the events, in the state `to`.
    const fire = (end, to, ...events) => later(() => {
      if (this.readyState >= end) return
      this.readyState = to
      events.forEach((event) => this.dispatchEvent(event))
    })
    this.#connect(transport, {
      url: this.url = href, protocols: [protocols ?? []].flat(), bridge, query: search.replace("?", "&"),
      uses: (transport, transportReason) => Object.assign(this, { transport, transportReason }),
      opened: (protocol) => {
        this.protocol = protocol
        fire(OPEN, OPEN, new Event("open"))
      },
      message: (data) => fire(CLOSING, OPEN, new MessageEvent("message", { data, origin })),
      closed: ({ code = 1006, reason = "", wasClean = code !== 1006 } = {}) => fire(CLOSED, CLOSED,
        ...(wasClean ? [] : [new Event("error")]), new CloseEvent("close", { code, reason, wasClean })),
    })
  }

  async #connect(transport, host) {
    let [roads, why] = plan(transport)
    for (const road of roads) {
      host.uses(road, why)
      this.#road = road === "websocket" ? direct(host) : tunnel(host, road, why)
      const failure = await this.#road.opening
      if (!failure) return road === roads[0] || transport || remember(road, why)
      why += `; ${road}: ${failure.message}`
      if (!failure.blame || this.readyState !== CONNECTING) break
    }
    if (!transport) remember()
    host.uses("", why)
    host.closed()
    nudge()
  }

  get bufferedAmount() { return this.#road.bufferedAmount ?? 0 }

  send(data) {
    if (this.readyState === CONNECTING) throw new DOMException("still connecting", "InvalidStateError")
    if (ArrayBuffer.isView(data) || data instanceof ArrayBuffer || data instanceof Blob) throw new DOMException("text only", "NotSupportedError")
    if (this.readyState === OPEN) this.#road.send(String(data).toWellFormed())
  }

  close(code = 1000, reason = "") {
    if (code !== 1000 && !(code >= 3000 && code <= 4999)) throw new DOMException("code not allowed", "InvalidAccessError")
    if (new Blob([reason]).size > 123) throw new DOMException("reason too long", "SyntaxError")
    if (this.readyState >= CLOSING) return
    const opened = this.readyState === OPEN
    this.readyState = CLOSING
    if (opened) this.#road.close(...arguments)
    else this.#road.end({})
  }
}
Native && Object.setPrototypeOf(Bridged.prototype, Native.prototype) // `instanceof WebSocket` holds for both.

function classFor({ bridge = "/", transport } = {}) {
  const base = new URL(bridge, location).href.replace(/\/*$/, "/")
  // Enumerable, as natively: ActionCable looks the state's name up.
  return Object.assign(class WebSocket extends Bridged {
    constructor(url, protocols) { super(url, protocols, base, transport) }
  }, { CONNECTING, OPEN, CLOSING, CLOSED })
}

function install({ dataset: { bridge, match = "/cable$", transport }, src }) {
  const Class = classFor({ bridge: bridge ?? new URL("..", src || location), transport })
  const carries = (url) => URL.canParse(url, document.baseURI) && RegExp(match).test(resolve(url).href.split("?")[0])
  const Replaced = globalThis.WebSocket = new Proxy(Native, {
    // A subclass stays native.
    construct: (native, args, target) =>
      target === Replaced && carries(args[0]) ? new Class(...args) : Reflect.construct(native, args, target),
  })
}

for (const type of ["online", "pageshow", "visibilitychange"]) addEventListener(type, () => wakes.forEach((wake) => wake()))

if (document?.currentScript) install(document.currentScript)
return classFor
})()
