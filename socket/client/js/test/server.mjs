// A server of a few lines, in memory: what it is sent, and what it says.

export class Server {
  sockets = []
  joins = [] // params of each
  pushes = []
  answer = () => ({ status: "ok", response: { offset: 0, epoch: "e", resumed: true } }) // to a join

  // transport is a WebSocket for the stock client.
  get transport() {
    const server = this
    return class {
      readyState = 0
      constructor() {
        server.sockets.push(this)
        queueMicrotask(() => { this.readyState = 1; this.onopen?.({}) })
      }
      send(text) {
        const [joinRef, ref, topic, event, payload] = JSON.parse(text)
        const reply = (status, response) => this.say([joinRef, ref, topic, "phx_reply", { status, response }])
        if (event === "phx_join") {
          server.joins.push(payload)
          this.joinRef = joinRef
          const { status, response, then = [] } = server.answer(payload, topic)
          if (!status) return
          reply(status, response)
          then.forEach((m) => this.event(topic, ...m))
        } else {
          server.pushes.push([event, payload])
          if (event === "refused") reply("error", { reason: "forbidden" })
          else reply("ok", {})
          if (event === "phx_leave") this.say([joinRef, joinRef, topic, "phx_close", {}])
        }
      }
      close(code = 1000, reason = "") { this.readyState = 3; this.onclose?.({ code, reason, wasClean: true }) }
      say(message) { if (this.readyState === 1) this.onmessage?.({ data: JSON.stringify(message) }) }
      event(topic, name, data, offset) { this.say([null, null, topic, name, { offset, data }]) }
    }
  }

  get socket() { return this.sockets.at(-1) }
  event(...args) { this.socket.event(...args) }
  cut() { this.socket.close(1006) }
}

// until waits for a condition, which a test's own deadline bounds.
export async function until(condition) {
  while (!condition()) await new Promise((next) => setTimeout(next, 1))
}
