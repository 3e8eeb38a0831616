// A broadcast server on Socket.IO: topics are rooms, which a client joins by
// emitting "join" and is acknowledged.
//
// node socketio.js --listen HOST:PORT --admin-listen HOST:PORT
//
// What differs from the defaults is what the project's page on performance
// asks for: ws with its native add-on, and the first request of a socket is
// not kept. Clients connect by WebSocket at once.
import { createServer } from "node:http"
import { parseArgs } from "node:util"
import { Server } from "socket.io"
import { exitWhenAsked, listen, serveAdmin } from "./admin.js"

const { values: flags } = parseArgs({
  options: { listen: { type: "string" }, "admin-listen": { type: "string" } },
})

const server = createServer()
const io = new Server(server, { transports: ["websocket"], serveClient: false })

io.engine.on("connection", (socket) => {
  socket.request = null
})

io.on("connection", (socket) => {
  socket.on("join", (topics, acknowledge) => {
    socket.join(topics)
    acknowledge()
  })
})

exitWhenAsked()
await listen(server, flags.listen)
await serveAdmin(flags["admin-listen"], (events) => {
  for (const { topic, event, payload } of events) io.to(topic).emit(event, payload)
})
