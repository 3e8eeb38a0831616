// A stock phoenix client on strings: it does what JSON lines on standard
// input tell it, and reports what happens as JSON lines on standard output.
//
//   node client.mjs URL phoenix17|phoenix18 [1|2]      the last: serialization

import { createInterface } from "node:readline"
import WebSocket from "ws"

const [url, library, version = "2"] = process.argv.slice(2)
const { Socket } = await import(library)

const report = (what, more) => console.log(JSON.stringify({ what, ...more }))

// The package itself speaks version 2 only; version 1 is objects.
const versionOne = {
  vsn: "1.0.0",
  encode: ({ topic, event, payload, ref, join_ref }, done) =>
    done(JSON.stringify({ topic, event, payload, ref, join_ref })),
  decode: (raw, done) => done(JSON.parse(raw)),
}

const socket = new Socket(url, {
  transport: WebSocket,
  heartbeatIntervalMs: 200,
  reconnectAfterMs: () => 20,
  rejoinAfterMs: () => 20,
  ...(version === "1" ? versionOne : {}),
})
socket.onOpen(() => report("open"))
socket.onClose(({ code, reason }) => report("close", { code, reason }))

// What belongs to no channel: heartbeats, and answers to raw messages.
const channels = new Map()
socket.onMessage((message) => {
  if (!channels.has(message.topic)) report("frame", message)
})

const commands = {
  connect: () => socket.connect(),
  disconnect: () => socket.disconnect(),

  // Loses the connection as a broken network does: no goodbye.
  cut: () => socket.conn.terminate(),

  // Joins as the docs show it. With params of {after}, the channel resumes
  // after what it saw last whenever it has to join again.
  join({ topic, params = {} }) {
    let at = params
    const resumes = "after" in params
    const channel = socket.channel(topic, () => at)
    channel.onMessage = (event, payload) => {
      if (!event.startsWith("phx_") && !event.startsWith("chan_reply_")) {
        if (resumes && payload.offset !== undefined) at.after = payload.offset
        report("message", { topic, event, payload })
      }
      return payload
    }
    channel.onClose(() => { channels.delete(topic); report("closed", { topic }) })
    channel.onError((reason) => report("errored", { topic, reason }))
    channels.set(topic, channel)
    channel.join()
      .receive("ok", (response) => {
        const { epoch, offset, resumed } = response
        if (resumes) at = { epoch, after: resumed ? at.after ?? offset : offset }
        report("joined", { topic, response })
      })
      .receive("error", (response) => report("refused", { topic, response }))
  },

  leave: ({ topic }) =>
    channels.get(topic).leave().receive("ok", (response) => report("left", { topic, response })),

  push({ topic, event, payload }) {
    const answer = (status) => (response) => report("reply", { topic, status, response })
    channels.get(topic).push(event, payload).receive("ok", answer("ok")).receive("error", answer("error"))
  },

  // A message that the client would not send of its own accord.
  raw: ({ message }) => socket.push({ ref: socket.makeRef(), join_ref: null, ...message }),
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  commands[command.do](command)
}
process.exit(0)
