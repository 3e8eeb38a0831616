// The page in Node: it reports what it shows as JSON lines on standard output, until its
// standard input ends.
//
//   node page.mjs NODE_MODULES APPLICATION SOCKET

import { createRequire } from "node:module"
import { pathToFileURL } from "node:url"
import { watchOrders } from "../page.mjs"

const [modules, application, address] = process.argv.slice(2)
const { Socket } = await import(pathToFileURL(`${modules}/phoenix18/priv/static/phoenix.mjs`))
const WebSocket = createRequire(`${modules}/`)("ws")

process.stdin.on("close", () => process.exit()).resume()

const socket = new Socket(address, { transport: WebSocket, reconnectAfterMs: () => 50, rejoinAfterMs: () => 50 })
socket.connect()
watchOrders({
  socket,
  region: "eu",
  retryMs: 50,
  load: async (region) => {
    const answer = await fetch(`${application}/orders?region=${region}`)
    if (!answer.ok) throw new Error(await answer.text())
    return answer.json()
  },
  show: (all) => console.log(JSON.stringify({ all })),
  change: (id, row) => console.log(JSON.stringify({ id, row })),
})
