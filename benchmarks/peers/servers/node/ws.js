// A broadcast server on npm's ws, with frames as small as they get:
//
//   client → {"join":["topic",…]}          server → {"joined":["topic",…]}
//                                          server → ["topic","event",payload]
//
// node ws.js --listen HOST:PORT --admin-listen HOST:PORT [--gather]
//
// --gather corks each socket while the events of one request are sent, so that
// they leave in one system call; without it each event is written by itself,
// as the examples of ws do.
import { createServer } from "node:http"
import { parseArgs } from "node:util"
import { WebSocket, WebSocketServer } from "ws"
import { exitWhenAsked, listen, serveAdmin } from "./admin.js"

const { values: flags } = parseArgs({
  options: { listen: { type: "string" }, "admin-listen": { type: "string" }, gather: { type: "boolean", default: false } },
})

const heartbeatEvery = 30_000 // milliseconds; the interval of ws's own example
const members = new Map() // topic → set of sockets

const server = createServer()
const sockets = new WebSocketServer({ server, perMessageDeflate: false })

sockets.on("connection", (socket) => {
  const joined = []
  socket.alive = true
  socket.on("error", () => socket.terminate())
  socket.on("pong", () => (socket.alive = true))
  socket.on("message", (data) => {
    let topics
    try {
      topics = JSON.parse(data).join
    } catch {
      return socket.close(1007, "not JSON")
    }
    if (!Array.isArray(topics)) return socket.close(1008, "not a join")
    for (const topic of topics) {
      if (!members.has(topic)) members.set(topic, new Set())
      members.get(topic).add(socket)
      joined.push(topic)
    }
    socket.send(JSON.stringify({ joined: topics }))
  })
  socket.on("close", () => {
    for (const topic of joined) {
      const set = members.get(topic)
      if (set?.delete(socket) && set.size === 0) members.delete(topic)
    }
  })
})

// Sockets that answered no ping since the last round are ended.
setInterval(() => {
  for (const socket of sockets.clients) {
    if (!socket.alive) {
      socket.terminate()
      continue
    }
    socket.alive = false
    socket.ping()
  }
}, heartbeatEvery)

function publish(events) {
  const corked = new Set()
  for (const { topic, event, payload } of events) {
    const set = members.get(topic)
    if (set === undefined) continue
    const frame = Buffer.from(JSON.stringify([topic, event, payload])) // once for all
    for (const socket of set) {
      if (socket.readyState !== WebSocket.OPEN) continue
      if (flags.gather && !corked.has(socket._socket)) {
        socket._socket.cork()
        corked.add(socket._socket)
      }
      socket.send(frame, { binary: false })
    }
  }
  for (const stream of corked) stream.uncork()
}

exitWhenAsked()
await listen(server, flags.listen)
await serveAdmin(flags["admin-listen"], publish)
