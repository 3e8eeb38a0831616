// Stock phoenix clients on strings: they do what JSON lines on standard input tell them,
// and report what happens as JSON lines on standard output.
//
//   {"do": "begin", "client": NUMBER, "args": [URL, "phoenix16"|"phoenix1721"|"phoenix17"|"phoenix18", "1"|"2", "websocket"|"longpoll", OPTIONS]}
//
// makes a client, whose number is in all lines of it; "end" ends it. The first two arguments
// are needed; "1" or "2" is the serialization; OPTIONS, in JSON, go to the Socket. A payload
// of bytes is written {"bytes": BASE64}, in both directions.

import { createInterface } from "node:readline"
import WebSocket from "ws"
import { XMLHttpRequest } from "./xhr.mjs"

// Old clients know no fetch, and look for what browsers have: in what is called self when
// they are imported.
const libraries = new Map()
async function load(name) {
  if (!libraries.has(name)) {
    if (name !== "phoenix18") globalThis.self = Object.assign(Object.create(globalThis), { XMLHttpRequest })
    libraries.set(name, await import(name))
    delete globalThis.self
  }
  return libraries.get(name)
}

const written = (_, value) =>
  value instanceof ArrayBuffer ? { bytes: Buffer.from(value).toString("base64") } : value
const read = (_, value) =>
  typeof value?.bytes === "string" ? new Uint8Array(Buffer.from(value.bytes, "base64")).buffer : value

// The package itself speaks version 2 only. Version 1 is objects, without a
// join_ref: its clients knew the join that ends by the ref.
const versionOne = {
  vsn: "1.0.0",
  encode: ({ topic, event, payload, ref, join_ref }, done) =>
    done(JSON.stringify({ topic, event, payload, ref, join_ref })),
  decode(raw, done) {
    const message = JSON.parse(raw)
    const ends = message.event === "phx_close" || message.event === "phx_error"
    done({ ...message, join_ref: ends ? message.ref : null })
  },
}

// begin makes a client, and returns what it can be told to do.
async function begin(client, url, library, version = "2", transport = "websocket", options = "{}") {
  const { Socket, LongPoll, Presence } = await load(library)
  const report = (what, more) => console.log(JSON.stringify({ client, what, ...more }, written))

  // The Socket minds encode and decode only of transports other than LongPoll.
  class OtherLongPoll extends LongPoll {}

  const transports = { websocket: WebSocket, longpoll: version === "1" ? OtherLongPoll : LongPoll }

  const socket = new Socket(url, {
    transport: transports[transport],
    // None of these is due before the tests' own patience ends: on a machine that is
    // busy a client would take the service, or a join, for lost.
    heartbeatIntervalMs: 900_000,
    timeout: 900_000,
    longpollerTimeout: 900_000,
    reconnectAfterMs: () => 20,
    rejoinAfterMs: () => 20,
    ...(version === "1" ? versionOne : {}),
    ...JSON.parse(options),
  })
  socket.onOpen(() => report("open"))
  socket.onClose(({ code, reason }) => report("close", { code, reason }))

  // What belongs to no channel: heartbeats, and answers to raw messages.
  const channels = new Map()
  socket.onMessage((message) => {
    if (!channels.has(message.topic)) report("frame", message)
  })

  return {
    connect: () => socket.connect(),
    disconnect: () => socket.disconnect(),

    // Joins as the docs show it. With params of {after}, the channel resumes
    // after what it saw last whenever it has to join again. With presence it reports who
    // is here, how often each, whenever the client says that it knows.
    join({ topic, params = {}, presence = false }) {
      let at = params
      const resumes = "after" in params
      const channel = socket.channel(topic, () => at)
      channel.onMessage = (event, payload) => {
        // 1.7 has no event for a push that is given up after its connection.
        if (event && !event.startsWith("phx_") && !event.startsWith("chan_reply_")) {
          if (resumes && payload.offset !== undefined) at.after = payload.offset
          report("message", { topic, event, payload })
        }
        return payload
      }
      channel.onClose(() => {
        if (channels.get(topic) === channel) channels.delete(topic)
        report("closed", { topic })
      })
      channel.onError((reason) => report("errored", { topic, payload: reason ?? null }))
      if (presence) {
        const all = new Presence(channel)
        all.onSync(() => report("here", { topic, payload: Object.fromEntries(all.list((key, { metas }) => [key, metas.length])) }))
      }
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

    // Several pushes at once, each with its number. What they are answered is counted.
    pushMany({ topics, event, count }) {
      const answers = {}
      let left = topics.length * count
      const answer = (status) => (response) => {
        const what = response?.reason ?? status
        answers[what] = (answers[what] ?? 0) + 1
        if (--left === 0) report("answered", { event, response: answers })
      }
      for (const topic of topics) {
        for (let n = 0; n < count; n++) {
          channels.get(topic).push(event, { n }, 900_000)
            .receive("ok", answer("ok")).receive("error", answer("error")).receive("timeout", answer("timeout"))
        }
      }
    },

    push({ topic, event, payload }) {
      const answer = (status) => (response) => report("reply", { topic, event, status, response })
      channels.get(topic).push(event, payload).receive("ok", answer("ok")).receive("error", answer("error"))
    },

    // A message that the client would not send of its own accord.
    raw: ({ message }) => socket.push({ ref: socket.makeRef(), join_ref: null, ...message }),
  }
}

const clients = new Map()
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line, read)
  if (command.do === "begin") clients.set(command.client, await begin(command.client, ...command.args))
  else if (command.do === "end") {
    clients.get(command.client).disconnect()
    clients.delete(command.client)
  } else clients.get(command.client)[command.do](command)
}
process.exit(0)
