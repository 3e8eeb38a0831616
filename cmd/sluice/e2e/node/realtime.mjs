// supabase's realtime-js on strings, like client.mjs: over WebSocket, which is all
// that it has.
//
//   node realtime.mjs URL

import { createInterface } from "node:readline"
import { RealtimeClient } from "@supabase/realtime-js"
import WebSocket from "ws"

const client = new RealtimeClient(process.argv[2], {
  transport: WebSocket,
  params: { apikey: "none" },
  heartbeatIntervalMs: 900_000, // neither is due before the tests' own patience ends
  timeout: 900_000,
  reconnectAfterMs: () => 20,
})
const report = (what, more) => console.log(JSON.stringify({ what, ...more }))
const channels = new Map()

const commands = {
  // What it calls a topic begins with "realtime:" on the wire.
  join({ topic, key }) {
    const channel = client.channel(topic, { config: { broadcast: { ack: true, self: true }, presence: { key } } })
    channels.set(topic, channel)
    if (key !== undefined) {
      channel.on("presence", { event: "sync" }, () => report("here", { topic, payload: channel.presenceState() }))
    }
    channel.on("broadcast", { event: "*" }, ({ event, payload }) => report("message", { topic, event, payload }))
    channel.subscribe((status, error) =>
      report(status === "SUBSCRIBED" ? "joined" : "refused", { topic, status, reason: error?.message }))
  },

  async push({ topic, event, payload }) {
    report("reply", { topic, event, status: await channels.get(topic).send({ type: "broadcast", event, payload }) })
  },

  async track({ topic, meta }) {
    report("tracked", { topic, status: await channels.get(topic).track(meta) })
  },

  async untrack({ topic }) {
    report("untracked", { topic, status: await channels.get(topic).untrack() })
  },

  async token({ token }) {
    await client.setAuth(token)
    report("told")
  },

  async leave({ topic }) {
    report("left", { topic, status: await channels.get(topic).unsubscribe() })
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  await commands[command.do](command)
}
process.exit(0)
