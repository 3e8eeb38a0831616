// Compiled, never run: what may be written, and what may not.
import { Presence, Socket } from "phoenix"
import { renew, sessionStore, stream, type Position } from "../index.js"

interface Orders {
  paid: { id: number }
  shipped: { id: number; by: string }
}
const socket = new Socket("/socket")
const orders = stream<Orders>(socket, "orders:eu", {
  params: () => ({ name: "ann" }), from: { epoch: "e", after: 41 }, store: sessionStore(),
  async onReset(at: Position) { console.log(at.after) },
})
const off: () => void = orders.on("paid", ({ id }, { offset }) => console.log(id.toFixed(), offset?.toFixed()))
off()
// @ts-expect-error there is no such event
orders.on("lost", () => {})
// @ts-expect-error nor such a field
orders.on("paid", ({ by }) => by)
for await (const e of orders.events()) {
  if (e.event === "shipped") console.log(e.data.by)
}
const { resumed } = await orders.join()
console.log(resumed === true, orders.position?.after, new Presence(orders.channel))
await orders.leave()
await renew(socket, "token")
stream(socket, "any", { from: 7 }).on("whatever", (data) => data.anything)
stream(socket, "any", { from: null })
// @ts-expect-error a position has an offset
stream(socket, "any", { from: { epoch: "e" } })
