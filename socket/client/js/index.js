// Channels that resume, on the stock phoenix client: see README.md.

const answered = (push) => new Promise((ok, fail) => {
  const refuse = (answer) => fail(Error(answer.reason ?? "timeout"))
  push.receive("ok", ok).receive("error", refuse).receive("timeout", refuse)
})

export const stream = (socket, topic, { params, from, store, onReset } = {}) => {
  let at = store?.load(topic) ?? (from?.toFixed ? { after: from } : from) // what the program is done with
  let seen = at && { ...at } // what has come, and is not asked for again
  let lost // whether what comes is dropped: it is of the join before, or the queue was full
  let reset // the queue of one whose state is being loaded: it is not empty until then
  let loop // wakes the one over events(): once there was one, events wait for it
  let closed
  let queue = []
  const listeners = new Set()

  const channel = socket.channel(topic, () => { // asked at each join
    lost = true
    return { ...(params?.call ? params() : params), after: null, ...seen }
  })

  const next = () => !reset && queue[0]
  const give = (e) => {
    try {
      listeners.forEach((f) => f(e))
      if (e.offset >= 0) at = { epoch: e.epoch, after: e.offset }, store?.save(topic, at)
    } catch (error) { console.error(error) }
  }
  const drain = () => {
    if (loop) loop()
    else while (next()) give(queue.shift())
    if (lost && !queue[0] && channel.isJoined()) channel.trigger("phx_error", {}) // it joins again
  }

  channel.onMessage = (event, payload) => {
    // What the protocol says itself comes bare; of sluice_position, the offset counts.
    if (!payload || !event || /^(phx_|chan_reply_|presence_(state|diff)$)/.test(event)) return payload
    lost ||= queue[999] // so many wait for the program: those beyond are asked for again
    if (!lost) {
      if (payload.offset) seen.after = payload.offset
      queue.push({ ...payload, event, epoch: seen.epoch })
      drain()
    }
    return payload.data || payload // phoenix wants it to be something
  }
  channel.onClose(() => drain(closed = 1))

  return {
    channel,
    get position() { return at },
    on(event, f) {
      const listener = (e) => e.event == event && f(e.data, e)
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    async *events() {
      loop ??= next // nothing to be woken yet
      while (!closed || queue[0]) {
        const e = next()
        if (e) {
          if (e.event) yield e
          if (e == queue[0]) give(queue.shift())
          drain()
        } else await new Promise((wake) => loop = wake)
      }
    },
    join: () => answered(channel.join().receive("ok", ({ epoch, offset, resumed }) => {
      lost = false
      if (!seen || !resumed) {
        const mine = queue = [{ epoch, offset }] // where it goes on; what waited is in the state that is loaded
        if (seen && onReset) {
          reset = mine
          Promise.resolve({ epoch, after: offset }).then(onReset).catch(console.error).then(() => {
            if (reset == mine) drain(reset = null) // else it was reset again meanwhile
          })
        }
        seen = { after: offset }
      }
      seen.epoch = epoch
      drain()
    })),
    leave: () => answered(channel.leave()),
  }
}

export const sessionStore = (prefix = "sluice:", all = sessionStorage) => ({
  load: (topic) => JSON.parse(all[prefix + topic] ?? null),
  save: (topic, at) => { all[prefix + topic] = JSON.stringify(at) },
})

export const renew = (socket, token) =>
  answered(socket.channels.find((c) => c.isJoined()).push("access_token", { access_token: token }))
