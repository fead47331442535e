// WebSockets over any network, for unchanged ActionCable, Turbo, GraphQL and AnyCable. Loaded before them,
//   <script src="https://bridge.example/-/client.js"></script>
// puts a look-alike in place of `window.WebSocket`. Attributes (defaults):
//   data-bridge     base URL of the bridge (where the script came from)
//   data-match      regular expression for URLs without their query (/cable$ on the page's host or the bridge's)
//   data-transport  what to try, in order (websocket sse poll)
// `/-/client.mjs` replaces nothing: `adapters.WebSocket = client({ bridge, transport })`.
var bridgeWebSocket = self.bridgeWebSocket || (() => {
const [CONNECTING, OPEN, CLOSING, CLOSED] = [0, 1, 2, 3]
const TRANSPORTS = ["websocket", "sse", "poll"]
const FIRST_EVENT = 3000
const MEND = 30000 // So long the bridge keeps a session (--resume-window).
const REMEMBER = 300000
const SLOTS = 3 // Of six connections over HTTP/1.1, for all tabs.
const TICK = 1500
const BATCH = 20000 // UTF-16 units; all `keepalive` requests share 64 KiB.
const KEY = "actioncable-bridge"
const CABLE = /^actioncable-v1/
const { WebSocket: Native, document, location } = self
const warn = (text) => console.warn(`actioncable-to-eventsource: ${text}`)
const { port1, port2 } = new MessageChannel(), wakes = new Set()
let lost = 0, nudging

// What it needs and the browser lacks.
function lacking() {
	try {
		const answer = new Response("-")
		const places = [self, "", [], /./, ArrayBuffer, Object, Math, crypto, performance, wakes, Promise.prototype,
			new AbortController(), new Headers(), new TextDecoder(), port1, answer, answer.body.getReader()]
		return `Blob CloseEvent Event MessageEvent String Uint32Array abort add clearInterval decode defineProperty dispatchEvent encodeURIComponent
			entries fetch finally floor forEach get getEntriesByType getRandomValues isView join json match pop postMessage read
			removeEventListener setInterval shift some startsWith then`.split(/\s+/).find((name) => !places.some((place) => name in Object(place)))
	} catch ({ message }) { return message }
}

const { now } = Date
const refuse = (name, message) => { throw new DOMException(message, name) }
const pause = (time) => new Promise((done) => setTimeout(done, time))
const backoff = (tries) => Math.min(2000, 200 * 2 ** tries) * (0.5 + Math.random() / 2)

// Each event is a task of its own, as natively. A hidden tab's timers are slow.
const tasks = []
port1.onmessage = () => tasks.shift()()
const atOnce = (task) => task()
const later = (task) => port2.postMessage(tasks.push(task))

// ActionCable's monitor looks 7 to 17 s after a loss, or when the window is told that it is shown.
function nudge() {
	clearTimeout(nudging)
	const time = now() - lost
	if (time < MEND) nudging = setTimeout(() => document && document.hidden || dispatchEvent(new Event("visibilitychange")), time / 8 + backoff(2))
}

function plan(transport) {
	if (transport) return [transport.split(/[\s,]+/), "as configured"]
	try {
		const [until, first, why] = JSON.parse(sessionStorage[KEY])
		if (first && now() < until) return [TRANSPORTS.slice(TRANSPORTS.indexOf(first)), `remembered: ${why}`]
	} catch {}
	return [TRANSPORTS.slice(Native ? 0 : 1), "first choice"]
}

function remember(...choice) {
	try { sessionStorage[KEY] = JSON.stringify([now() + REMEMBER, ...choice]) } catch {}
}

function fields(block) {
	const all = {}
	for (const line of block.split("\n")) {
		const [, name, value] = line.match(/^(\w+): ?([^]*)/) || []
		all[name] = name in all ? `${all[name]}\n${value}` : value
	}
	return all
}

// A free slot, as what renews it, or with 0 frees it: an entry that all tabs see. One that cannot see it takes it.
function lease(name) {
	const id = Math.random()
	const renew = (time = 10000) => {
		const [until, by] = JSON.parse(localStorage[name] || "[]")
		return until > now() && by !== id || void (localStorage[name] = JSON.stringify([now() + time, id]))
	}
	try { return !renew() && renew } catch { return () => {} }
}

function direct(host) {
	const socket = new Native(host.url, host.protocols)
	const shut = socket.close.bind(socket)
	let since, heard, state = OPEN
	socket.opening = new Promise((resolve) => {
		socket.end = () => {
			socket.onopen = socket.onmessage = socket.onclose = null
			shut()
			resolve({})
		}
		const open = () => { since = since || resolve(host.opened(socket.protocol)) || now() }
		// A proxy may pass the handshake only; an ActionCable server speaks first.
		socket.onopen = () => CABLE.test(socket.protocol) || open()
		socket.onmessage = ({ data }) => host.message(data, open(heard = now()) || state, tasks.length ? later : atOnce)
		socket.onclose = (event) => {
			if (!since && !event.wasClean) return resolve({ message: "refused" })
			open()
			if (event.code === 1006 && now() - since < MEND) remember("sse", "websocket: broke early")
			host.closed(event)
		}
	})
	// After a sleep, what waits in the network comes first.
	socket.close = (...args) => {
		if (now() - heard > 6000) state = CLOSING, lost = now()
		setTimeout(() => shut(...args), state > OPEN ? 300 : 0)
	}
	return socket
}

// A session on the bridge: GETs carry frames down, POSTs up. It mends itself.
function tunnel(host, transport, why) {
	const queue = []
	let after = "", gets = 0, posts = 0, batch = "", pumping, opened, cable, ended, gone, tries = 0
	let fallen = "", heard, timer, release, settle, cut = () => {}, rise = cut
	let took = -now(), broken, ticked = now(), quiet = 0

	async function run() {
		for (let busy = 0; !ended;) {
			if (!opened) link.session = host.bridge + crypto.getRandomValues(new Uint32Array(4)).join("-")
			const bad = await get()
			if (!bad || ended) continue
			if (opened ? bad.close || bad.gone : !bad.wait || ++busy > 3) end(bad)
			else await mend(bad)
		}
	}

	async function mend({ silent, wait }) {
		broken = broken || now()
		if (now() - broken > MEND) return end()
		if (silent && tries && transport === "sse") fallen = "streams fell silent"
		ping()
		await sleep(wait || backoff(++tries))
	}

	// One GET. Resolves to what went wrong: `close` was told, `gone` is the session, to `wait` is the bridge's word.
	async function get() {
		const controller = new AbortController(), { signal } = controller
		let reason
		cut = (why = { wait: 1 }) => controller.abort(reason = reason || why)
		try {
			const free = slot(), instead = free ? fallen : "other requests are held open"
			const streams = transport === "sse" && !instead
			link.uses = [streams ? "sse" : "poll", instead || why]
			return await (streams ? stream(signal) : poll(signal, free))
		} catch (error) {
			return reason || error
		} finally {
			cut()
			clearTimeout(timer)
		}
	}

	function patience(time) {
		// The last to run: the application may have last words.
		removeEventListener("pagehide", leave)
		addEventListener("pagehide", leave)
		heard = now()
		clearTimeout(timer)
		timer = setTimeout(() => cut({ silent: true, message: `nothing came in ${time / 1000} s` }), time)
	}

	async function stream(signal) {
		patience(opened ? FIRST_EVENT + 2 * took : 12000)
		const { body } = await ask("text/event-stream", query(), { signal })
		const reader = body.getReader(), decoder = new TextDecoder()
		let rest = "", wait, since
		for (let part; !(part = await reader.read()).done;) {
			const blocks = (rest + decoder.decode(part.value, { stream: true })).split("\n\n")
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
			if (since) patience(cable ? 5000 : 20000) // ActionCable pings each 3 s, the bridge each 15 s.
		}
		return { wait, message: "the stream ended" }
	}

	async function poll(signal, free) {
		patience(12000)
		const { protocol, messages: [...texts], last_event_id, close } = await reply(free ? 4 : 1, signal)
		open({ protocol })
		texts.forEach((text) => host.message(text))
		after = `&after=${last_event_id}`
		tries = 0
		ping()
		if (close) return bye(), { close }
		if (!free && gets > 1) await sleep(3000 - now() + heard)
	}

	const reply = async (timeout, signal) => (await ask("application/json", query(`&timeout=${timeout}`), { signal })).json()

	const query = (more = "") =>
		`protocol=${encodeURIComponent(host.protocols)}&seq=${++gets}${more}${after}${opened ? "" : host.query}`

	async function ask(type, query, more) {
		const answer = await fetch(`${link.session}?${query}`, {
			headers: { Accept: type }, credentials: "include", cache: "no-store", ...more,
			referrerPolicy: "origin", // Makes the Origin that GETs may lack.
		})
		const { status, headers } = answer
		if (status === 204 || status === 200 && `${headers.get("Content-Type")}`.startsWith(type)) return answer
		const { error, close } = await answer.json().catch(() => ({}))
		const wait = status === 503 && 1000 * (headers.get("Retry-After") || 2)
		throw { message: error || `status ${status}, not from the bridge`, error, status, close, wait, gone: error && status < 500 }
	}

	// Whether a request may be held open.
	function slot() {
		const fast = (it) => /^h[23]/.test(it.nextHopProtocol) && it.name.startsWith(host.bridge)
		if (performance.getEntriesByType("resource").some(fast)) return true
		for (let slot = 0; slot < SLOTS && !release; slot++) release = lease(KEY + slot)
		if (ended) free()
		return !!release
	}

	function free() {
		release = void (release && release(0))
	}

	function send(text) {
		queue.push(JSON.stringify(text))
		pumping = pumping || pump().finally(() => { pumping = null })
	}

	async function pump() {
		await null
		for (let tries = 0; (batch || queue.length) && !gone;) {
			if (await post()) tries = 0
			else if (++tries > 22) end()
			else await pause(backoff(tries))
		}
	}

	// One at a time; one sent again is known by its number.
	async function post() {
		if (!batch) {
			posts++
			batch = queue.shift()
			while (queue.length && batch.length + queue[0].length < BATCH) batch += `\n${queue.shift()}`
		}
		const { length } = batch, controller = new AbortController()
		setTimeout(() => controller.abort(), 6000 + 4 * took + length / 8)
		try {
			await ask("*/*", `protocol=&seq=${posts}`, { method: "POST", body: batch, keepalive: length < BATCH, signal: controller.signal })
			batch = ""
			rise()
			return true
		} catch (bad) {
			if (bad.status === 410) gone = true
			else if (bad.gone) end()
		}
	}

	const bye = () => ask("*/*", `protocol=${posts ? `&seq=${posts}` : ""}`, { method: "DELETE", keepalive: true }).catch(() => {})

	function open({ protocol }) {
		broken = 0
		if (opened) return
		opened = true
		took += now()
		cable = CABLE.test(protocol)
		settle(host.opened(protocol))
	}

	function ping(run) {
		quiet = 0
		if (cable) host.message(`{"type":"ping","message":${Math.floor(now() / 1000)}}`, OPEN, run)
	}

	function end({ close, message, error } = {}) {
		ended = gone = true
		wakes.delete(wake)
		removeEventListener("pagehide", leave)
		clearInterval(clock)
		cut()
		rise()
		free()
		if (!close && !error) bye()
		settle({ message, blame: !error })
		if (opened) host.closed(close || {})
	}

	// By the page: what it sent goes first.
	async function close(code = 1005, reason) {
		const slept = now() - heard > 6000
		ended = true
		cut()
		const rest = async () => (await reply(1)).messages.forEach((text) => host.message(text, CLOSING))
		await Promise.race([pause(2000), Promise.all([pumping, slept && rest()]).catch(() => {}).then(bye)])
		end({ close: { code, reason } })
	}

	const sleep = (time) => new Promise((resolve) => setTimeout(rise = resolve, time))

	function tick() {
		if (now() - ticked > 3 * TICK) wake()
		else if (++quiet > 2) ping()
		ticked = now()
		if (release) release()
	}

	function wake() {
		fallen = ""
		broken = 0
		ping(atOnce)
		if (opened && now() - heard > 5000) cut()
		rise()
	}

	function leave({ persisted }) {
		if (queue.length) post(batch = "")
		if (!persisted) bye()
		free()
	}

	const opening = new Promise((resolve) => { settle = resolve })
	const clock = setInterval(tick, TICK)
	const link = { send, close, end, opening }
	wakes.add(wake)
	run()
	return link
}

function resolve(url) {
	const address = new URL(url, document ? document.baseURI : location)
	address.protocol = address.protocol.replace("http", "ws")
	return address
}

// Safari 13 makes no EventTarget, but a port is one.
let Target = self.EventTarget
try { new Target() } catch {
	Target = function () { return Object.setPrototypeOf(new MessageChannel().port1, new.target.prototype) }
	Target.prototype = MessagePort.prototype
}

class Bridged extends Target {
	constructor(url, protocols, bridge, transport) {
		super()
		const { href, origin, search } = resolve(url), race = { links: [] }
		// Its own: those of the native prototype cannot be set.
		for (const [name, value] of Object.entries({
			url: href, protocol: "", extensions: "", readyState: CONNECTING, binaryType: "blob", race,
			onopen: null, onmessage: null, onerror: null, onclose: null,
		})) Object.defineProperty(this, name, { value, writable: true, enumerable: name !== "race" })
		for (const type of ["open", "message", "error", "close"]) {
			this.addEventListener(type, (event) => this[`on${type}`] && this[`on${type}`](event))
		}
		const fire = (states, to, events, run = later) => run(() => {
			if (!states.includes(this.readyState)) return
			this.readyState = to
			events.forEach((event) => this.dispatchEvent(event))
		})
		connect(this, race, transport, {
			url: href, protocols: protocols || [], bridge, query: search.replace("?", "&"),
			opened: (protocol) => {
				this.protocol = protocol
				fire([CONNECTING], OPEN, [new Event("open")])
			},
			message: (data, state = OPEN, run) => fire([state], state, [new MessageEvent("message", { data, origin })], run),
			closed: ({ code = 1006, reason = "", wasClean = code !== 1006 }) => {
				if (!wasClean) nudge(race.winner && (lost = now()))
				fire([CONNECTING, OPEN, CLOSING], CLOSED, [...(wasClean ? [] : [new Event("error")]), new CloseEvent("close", { code, reason, wasClean })])
			},
		})
	}

	get transport() { return this.race.shown.uses[0] }
	get transportReason() { return this.race.shown.uses[1] }
	get session() { return this.race.shown.session }
	get bufferedAmount() { return this.race.shown.bufferedAmount || 0 }

	send(data) {
		if (this.readyState === CONNECTING) refuse("InvalidStateError", "still connecting")
		if (ArrayBuffer.isView(data) || data instanceof ArrayBuffer || data instanceof Blob) refuse("NotSupportedError", "text only")
		if (this.readyState === OPEN) this.race.winner.send(String(data).replace(/[\uD800-\uDFFF]/gu, "\uFFFD"))
	}

	close(code = 1000, reason = "") {
		if (code !== 1000 && !(code >= 3000 && code < 5000)) refuse("InvalidAccessError", "code not allowed")
		if (new Blob([reason]).size > 123) refuse("SyntaxError", "reason too long")
		const { readyState } = this, { links, winner } = this.race
		if (readyState >= CLOSING) return
		this.readyState = CLOSING
		if (readyState === OPEN) winner.close(...arguments)
		else links.forEach((link) => link.end())
	}
}
if (Native) Object.setPrototypeOf(Bridged.prototype, Native.prototype)

// One after the other; a slow one may still win: the first that opens ends the others.
async function connect(socket, race, transport, host) {
	const [names, ...reasons] = plan(transport), outcomes = []
	let refused
	for (const name of names) {
		const at = reasons.length, why = reasons.join("; ")
		const failed = ({ message, blame = true }) => {
			reasons[at] = `${name}: ${message}`
			if (!blame) refused = true
		}
		const mine = { ...host,
			opened(protocol) {
				race.winner = race.shown = link
				for (const other of race.links) if (other !== link) other.end()
				host.opened(protocol)
				if (at > 1 && !transport) remember(name, why)
			},
		}
		let link
		reasons[at] = `${name}: nothing came in 3 s`
		try {
			link = name === "websocket" ? direct(mine) : tunnel(mine, name, why)
			link.uses = link.uses || [name, why]
			race.links.push(race.shown = link)
			outcomes.push(link.opening.then((failure) => failure && failed(failure)))
			await Promise.race([...outcomes.slice(-1), pause(FIRST_EVENT)])
		} catch (error) { failed(error) }
		if (race.winner || refused || socket.readyState !== CONNECTING) break
	}
	await Promise.all(outcomes)
	if (race.winner) return
	if (!transport) remember()
	race.shown = { uses: ["", reasons.join("; ")] }
	host.closed({})
}

function classFor({ bridge = "/", transport } = {}) {
	if (missing) return Native
	const base = new URL(bridge, location).href.replace(/\/*$/, "/")
	// Enumerable, as natively: ActionCable looks the state's name up.
	return Object.assign(class WebSocket extends Bridged {
		constructor(url, protocols) { super(url, protocols, base, transport) }
	}, { CONNECTING, OPEN, CLOSING, CLOSED })
}

function install({ dataset: { bridge, match, transport }, src }) {
	const base = new URL(bridge || new URL("..", src || location), location)
	const Class = classFor({ bridge: base, transport }), pattern = RegExp(match || "/cable$")
	const carries = (url) => {
		try {
			const { href, hostname } = resolve(url)
			// Another site's token is not for this bridge.
			return pattern.test(href.split("?")[0]) && (match || [location.hostname, base.hostname].includes(hostname))
		} catch {}
	}
	const Replaced = self.WebSocket = new Proxy(Native || Class, {
		construct(native, args, target) {
			if (target === Replaced && carries(args[0])) return new Class(...args)
			if (Native) return Reflect.construct(native, args, target)
			refuse("NotSupportedError", "no WebSocket here")
		},
	})
	if (self.ActionCable || self.Turbo) warn("load client.js before ActionCable and Turbo: they have the native WebSocket")
}

for (const type of ["online", "pageshow", "visibilitychange"]) addEventListener(type, () => wakes.forEach((wake) => wake()))

const missing = lacking(), tag = document && document.currentScript
if (missing) warn(`without ${missing} the native WebSocket stays`)
else if (tag) install(tag)
else if (document && typeof bridgeClient === "undefined") warn("client.js is no module: use a plain script tag, or client.mjs")
return classFor
})()
