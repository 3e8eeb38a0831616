import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"
import { transformSync } from "esbuild"
import * as phoenix from "phoenix"
import * as phoenix17 from "phoenix17"
import { renew, sessionStore, stream } from "../index.js"
import { Server, until } from "./server.mjs"

const ok = (offset, more) => ({ status: "ok", response: { offset, epoch: "e", resumed: true, ...more } })

// quiet collects what is reported on the console.
function quiet(t) {
  const said = []
  t.mock.method(console, "error", (error) => said.push(error.message))
  return said
}

for (const [name, { Socket, Presence }] of Object.entries({ phoenix17, phoenix18: phoenix })) {
  const begin = (t, options = {}) => {
    const server = new Server()
    const socket = new Socket("ws://test/socket", { transport: server.transport, reconnectAfterMs: () => 1, rejoinAfterMs: () => 1, timeout: 900_000, heartbeatIntervalMs: 900_000 })
    socket.connect()
    t.after(() => new Promise((done) => socket.disconnect(done)))
    const s = stream(socket, "t", options)
    const got = []
    s.on("e", (data, { offset }) => got.push([data.n, offset]))
    return { server, socket, s, got }
  }

  test(`${name}: it resumes after what it has seen, with params asked again`, async (t) => {
    let asked = 0
    const { server, s, got } = begin(t, { params: () => ({ asked: ++asked, after: 99 }) })
    server.answer = () => ok(7)
    assert.equal(s.position, undefined)
    assert.deepEqual(await s.join(), { offset: 7, epoch: "e", resumed: true })
    assert.deepEqual(s.position, { epoch: "e", after: 7 })
    server.event("t", "e", { n: 8 }, 8)
    server.event("t", "e", { n: 0 }) // a broadcast
    server.event("t", "other", { n: 9 }, 9)
    assert.deepEqual(got, [[8, 8], [0, undefined]])
    server.socket.say([server.socket.joinRef, null, "t", "sluice_position", { offset: 20 }]) // nothing has happened on it since
    server.cut()
    await until(() => server.joins.length === 2)
    assert.deepEqual(server.joins, [{ asked: 1, after: null }, { asked: 2, epoch: "e", after: 20 }])
    assert.deepEqual(s.position, { epoch: "e", after: 20 })
  })

  test(`${name}: it begins where it is told, or where the store says`, async (t) => {
    for (const [options, want] of [
      [{ from: 41 }, { after: 41 }], [{ from: 0 }, { after: 0 }], [{ from: null }, { after: null }],
      [{ from: { epoch: "e", after: 41 } }, { epoch: "e", after: 41 }],
      [{ from: 41, store: { load: () => ({ epoch: "e", after: 43 }), save() {} } }, { epoch: "e", after: 43 }],
      [{ from: 41, store: { load: () => null, save() {} }, params: { a: 1 } }, { a: 1, after: 41 }],
    ]) {
      const { server, s } = begin(t, options)
      await s.join()
      assert.deepEqual(server.joins, [want])
    }
  })

  test(`${name}: no broadcast can pass for an event of the log`, async (t) => {
    const { server, s } = begin(t)
    const forged = []
    s.on("forged", (data, { offset }) => forged.push([data, offset]))
    await s.join()
    for (const data of [{ offset: 99, data: {} }, { epoch: "x", offset: 99 }, 7, 0, "", false]) server.event("t", "forged", data)
    server.socket.say([null, null, "t", "forged", { data: null }])
    assert.deepEqual(forged, [[{ offset: 99, data: {} }, undefined], [{ epoch: "x", offset: 99 }, undefined], [7, undefined], [0, undefined], ["", undefined], [false, undefined], [null, undefined]])
    server.event("t", "sluice_position", { offset: 99 })
    assert.deepEqual(s.position, { epoch: "e", after: 0 })
  })

  test(`${name}: a listener that throws leaves the position, and others go on`, async (t) => {
    const said = quiet(t)
    const { server, s, got } = begin(t)
    const off = s.on("e", ({ n }) => { if (n === 1) throw Error("no") })
    await s.join()
    server.event("t", "e", { n: 1 }, 1)
    assert.deepEqual(s.position, { epoch: "e", after: 0 })
    assert.deepEqual(said, ["no"])
    server.event("t", "e", { n: 2 }, 2)
    assert.deepEqual(s.position, { epoch: "e", after: 2 })
    off()
    server.event("t", "e", { n: 1 }, 3)
    assert.deepEqual(said, ["no"])
    assert.deepEqual(got, [[1, 1], [2, 2], [1, 3]])
  })

  test(`${name}: events wait for a reset's state, and a second reset takes its place`, async (t) => {
    const settle = [], resets = [], said = quiet(t), saved = []
    const { server, s, got } = begin(t, {
      from: 3, store: { load() {}, save: (_, at) => saved.push(at.after) },
      onReset: (at) => new Promise((done, fail) => { resets.push(at), settle.push(done, fail) }),
    })
    server.answer = () => ok(50, { resumed: false })
    await s.join()
    await until(() => resets.length === 1)
    assert.deepEqual(resets, [{ epoch: "e", after: 50 }])
    server.event("t", "e", { n: 51 }, 51)
    assert.deepEqual([got, s.position, saved], [[], { after: 3 }, []])
    server.answer = () => ok(60, { resumed: false, epoch: "f" })
    server.cut()
    await until(() => resets.length === 2)
    assert.deepEqual(server.joins[1], { epoch: "e", after: 51 })
    server.event("t", "e", { n: 61 }, 61)
    settle[0]() // too late
    await new Promise(setImmediate)
    assert.deepEqual(got, [])
    settle[3](Error("the state is away")) // told, and it goes on
    await until(() => got.length)
    assert.deepEqual([got, s.position, saved, said], [[[61, 61]], { epoch: "f", after: 61 }, [60, 61], ["the state is away"]])
  })

  test(`${name}: what comes beyond a thousand while a reset waits is asked for again`, async (t) => {
    let settle
    const { server, s, got } = begin(t, { from: 1, onReset: () => new Promise((done) => (settle = done)) })
    server.answer = () => ok(10, { resumed: false })
    await s.join()
    for (let n = 11; n < 2000; n++) server.event("t", "e", { n }, n)
    server.answer = ({ after }) => ({ ...ok(1999), then: Array.from({ length: 1999 - after }, (_, i) => ["e", { n: after + 1 + i }, after + 1 + i]) })
    await until(() => settle)
    assert.equal(server.joins.length, 1)
    settle()
    await until(() => got.length === 1989)
    assert.deepEqual(got.map(([n]) => n), Array.from({ length: 1989 }, (_, i) => i + 11))
    assert.deepEqual(server.joins[1], { epoch: "e", after: 1009 }) // the reset is one of the thousand
  })

  test(`${name}: without onReset it goes on from there`, async (t) => {
    const { server, s, got } = begin(t, { from: 3 })
    server.answer = () => ok(50, { resumed: false })
    assert.equal((await s.join()).resumed, false)
    assert.deepEqual(s.position, { epoch: "e", after: 50 })
    server.event("t", "e", { n: 51 }, 51)
    assert.deepEqual(got, [[51, 51]])
  })

  test(`${name}: a loop over events() is done with one when it asks for the next`, async (t) => {
    const { server, s } = begin(t)
    const events = s.events()
    const first = events.next()
    await s.join()
    for (let n = 1; n <= 3; n++) server.event("t", "e", { n }, n)
    assert.equal((await first).value.data.n, 1)
    assert.deepEqual(s.position, { epoch: "e", after: 0 })
    const { value } = await events.next()
    assert.deepEqual([value.event, value.data, value.offset, s.position.after], ["e", { n: 2 }, 2, 1])
    await events.return()
    const again = []
    for await (const { data } of s.events()) { // that at which a loop was left comes again
      again.push(data.n)
      if (data.n === 3) break
    }
    assert.deepEqual([again, s.position.after], [[2, 3], 2])
    server.cut()
    await until(() => server.joins.length === 2)
    assert.deepEqual(server.joins[1], { epoch: "e", after: 3 }) // which waits here
    const last = s.events()
    assert.equal((await last.next()).value.data.n, 3)
    await s.leave()
    assert.equal((await last.next()).done, true)
    assert.equal(s.position.after, 3)
  })

  test(`${name}: a loop that is slower gets all of it, by another join`, async (t) => {
    const { server, s } = begin(t)
    const events = s.events()
    const first = events.next()
    await s.join()
    const from = (after) => { for (let n = after + 1; n <= 2500; n++) server.event("t", "e", { n }, n) }
    server.answer = ({ after }) => ({ ...ok(2500), then: Array.from({ length: 2500 - after }, (_, i) => ["e", { n: after + 1 + i }, after + 1 + i]) })
    from(0)
    const got = [(await first).value.data.n]
    for await (const { data } of events) if (got.push(data.n) === 2500) break
    assert.deepEqual(got, Array.from({ length: 2500 }, (_, i) => i + 1))
    assert.equal(server.joins.length, 3)
  })

  test(`${name}: a channel that fails joins again after what it has seen`, async (t) => {
    const { server, s, got } = begin(t)
    await s.join()
    server.event("t", "e", { n: 1 }, 1)
    const { joinRef } = server.socket
    server.socket.say([joinRef, joinRef, "t", "phx_error", {}])
    await until(() => server.joins.length === 2)
    assert.deepEqual([server.joins[1].after, got], [1, [[1, 1]]])
  })

  test(`${name}: presences are the stock client's, whatever their keys`, async (t) => {
    const { server, s } = begin(t)
    const presence = new Presence(s.channel)
    await s.join()
    server.socket.say([server.socket.joinRef, null, "t", "presence_state", { data: { metas: [{ phx_ref: "1" }] } }])
    server.socket.say([null, null, "t", "presence_diff", { joins: { offset: { metas: [{ phx_ref: "2" }] } }, leaves: {} }])
    assert.deepEqual(presence.list((key) => key), ["data", "offset"])
  })

  test(`${name}: pushes, stock listeners and renewals`, async (t) => {
    const { server, socket, s } = begin(t)
    const stock = []
    s.channel.on("e", (data) => stock.push(data))
    await s.join()
    server.event("t", "e", { n: 1 }, 1)
    assert.deepEqual(stock, [{ n: 1 }])
    const reply = await new Promise((done) => s.channel.push("refused", { data: 1 }).receive("error", done))
    assert.deepEqual(reply, { reason: "forbidden" })
    await renew(socket, "new")
    assert.deepEqual(server.pushes.at(-1), ["access_token", { access_token: "new" }])
  })

  test(`${name}: a join that is refused is told`, async (t) => {
    const { server, s } = begin(t)
    server.answer = () => ({ status: "error", response: { reason: "unauthorized" } })
    await assert.rejects(s.join(), { message: "unauthorized" })
  })
}

test("positions survive a reload", async (t) => {
  const said = quiet(t), kept = {}
  const store = sessionStore("at:", kept)
  assert.equal(store.load("t"), null)
  store.save("t", { epoch: "e", after: 7 })
  assert.deepEqual([kept, sessionStore("at:", kept).load("t")], [{ "at:t": '{"epoch":"e","after":7}' }, { epoch: "e", after: 7 }])
  const server = new Server()
  const socket = new phoenix.Socket("ws://test/socket", { transport: server.transport })
  t.after(() => new Promise((done) => socket.disconnect(done)))
  socket.connect()
  const s = stream(socket, "t", { store: { load() {}, save() { throw Error("it is full") } } })
  await s.join()
  server.event("t", "e", {}, 1)
  assert.deepEqual([said, s.position.after], [["it is full", "it is full"], 1])
})

test("it stays small", () => {
  const { code } = transformSync(readFileSync(new URL("../index.js", import.meta.url), "utf8"), { minify: true, format: "esm" })
  assert.ok(code.length <= 1536, `it has ${code.length} bytes`)
})
