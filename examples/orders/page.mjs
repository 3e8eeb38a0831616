// The page, without what it looks like: it keeps the orders of a region as the table has
// them. In a browser, page.html gives it the stock phoenix client.

// watchOrders shows the state, and then applies each change to it. load returns what
// GET /orders answers; show is given all rows, change one that has changed, or its id and
// null. It never gives up: whatever fails is tried again after retryMs.
export async function watchOrders({ socket, region, load, show, change, retryMs = 1000 }) {
  let state
  while (!state) {
    try {
      state = await load(region)
    } catch {
      await new Promise((resolve) => setTimeout(resolve, retryMs))
    }
  }
  show(state.rows)

  const at = { epoch: state.epoch, after: state.offset } // of what is shown
  const channel = socket.channel(`orders:${region}`, () => at) // asked for with each join
  let current = true
  const on = (event, apply) =>
    channel.on(event, ({ offset, data }) => {
      if (!current) return
      apply(data)
      if (offset !== undefined) at.after = offset
    })
  on("INSERT", ({ record }) => change(record.id, record))
  on("UPDATE", ({ record, old_record }) => {
    if (old_record.id !== record.id) change(old_record.id, null)
    change(record.id, record)
  })
  on("DELETE", ({ old_record }) => change(old_record.id, null))
  on("TRUNCATE", () => show([]))
  on("sluice_position", () => {})

  channel.join().receive("ok", ({ resumed }) => {
    if (resumed || !current) return
    current = false // what still comes by this channel is not of the next state
    channel.leave()
    watchOrders({ socket, region, load, show, change, retryMs })
  })
}
