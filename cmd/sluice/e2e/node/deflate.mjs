// Stock clients that offer compression, npm ws and headless Chromium, join a topic with
// messages of their own that are compressed, and report what comes by JSON lines.
//
//   node deflate.mjs CHROMIUM HOST TOPIC

import { chromium } from "playwright-core"
import { WebSocket as Ws } from "ws"

const [executablePath, host, topic] = process.argv.slice(2)
const url = `ws://${host}/socket/websocket?vsn=2.0.0`
const join = JSON.stringify(["1", "1", topic, "phx_join", { after: null, of: "x".repeat(1000) }])
const report = (what, more) => console.log(JSON.stringify({ what, ...more }))

const socket = new Ws(url, { perMessageDeflate: { threshold: 0 } })
socket.on("open", () => socket.send(join))
socket.on("message", (data) => report("ws", { reason: socket.extensions, payload: JSON.parse(data), code: socket._socket.bytesRead }))
socket.on("close", (code) => report("broken", { reason: "ws", code }))

const browser = await chromium.launch({ executablePath })
const page = await browser.newPage()
await page.exposeFunction("report", (what, extensions, data) => report(what, { reason: extensions, payload: JSON.parse(data) }))
await page.goto(`http://${host}/healthz`)
await page.evaluate(([url, join]) => {
  const socket = new WebSocket(url)
  socket.onopen = () => socket.send(join)
  socket.onmessage = ({ data }) => report("chromium", socket.extensions, data)
  socket.onclose = ({ code }) => report("broken", "chromium", String(code))
}, [url, join])
await new Promise((resolve) => process.stdin.on("end", resolve).resume())
socket.removeAllListeners("close")
socket.terminate()
await browser.close()
