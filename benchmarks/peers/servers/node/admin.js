// The admin side that both servers have: what to publish comes in as it does
// to Sluice, as JSON lines of {"topic","event","payload"}.
import { createServer } from "node:http"

// serveAdmin listens on address (host:port) and hands the events of each
// request to publish as one array, in their order.
export function serveAdmin(address, publish) {
  const answer = (response, status, body) => {
    response.writeHead(status, { "content-type": "application/json" })
    response.end(JSON.stringify(body))
  }
  const server = createServer((request, response) => {
    if (request.method === "GET" && request.url === "/readyz") return answer(response, 200, { ready: true })
    if (request.method !== "POST" || request.url !== "/api/broadcast") return answer(response, 404, { error: "not found" })
    const chunks = []
    request.on("data", (chunk) => chunks.push(chunk))
    request.on("end", () => {
      let events
      try {
        events = parseLines(Buffer.concat(chunks).toString())
      } catch (error) {
        return answer(response, 400, { error: error.message })
      }
      publish(events)
      answer(response, 202, { count: events.length })
    })
  })
  return listen(server, address)
}

// listen resolves once the server listens on address (host:port).
export function listen(server, address) {
  const colon = address.lastIndexOf(":")
  return new Promise((resolve, reject) => {
    server.once("error", reject)
    server.listen({ host: address.slice(0, colon), port: Number(address.slice(colon + 1)), backlog: 4096 }, resolve)
  })
}

// exitWhenAsked ends the process on the signals that ask for it: nothing here
// outlives it.
export function exitWhenAsked() {
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(0))
}

function parseLines(text) {
  const events = []
  for (const line of text.split("\n")) {
    if (line === "") continue
    const event = JSON.parse(line)
    if (typeof event.topic !== "string" || typeof event.event !== "string") throw new Error("an event takes a topic and an event")
    events.push(event)
  }
  return events
}
