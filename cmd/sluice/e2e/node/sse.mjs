// A page in headless Chromium that reads server-sent events as docs/sse.md has it. Reports
// by JSON lines.
//
//   node sse.mjs CHROMIUM PAGE SCRIPT      where the page is, and what runs on it

import { chromium } from "playwright-core"

const [executablePath, address, script] = process.argv.slice(2)
const report = (what, more) => console.log(JSON.stringify({ what, ...more }))

const browser = await chromium.launch({ executablePath })
const page = await browser.newPage()
page.on("pageerror", (error) => report("broken", { reason: String(error) }))
await page.exposeFunction("render", (topic, event, payload) => report("event", { topic, event, payload }))
await page.exposeFunction("reload", (topic) => report("reload", { topic }))
await page.exposeFunction("refused", () => report("refused"))
await page.goto(address)
await page.addScriptTag({ content: `{ ${script} }` })
report("ready")
await new Promise((resolve) => process.stdin.on("end", resolve).resume())
await browser.close()
