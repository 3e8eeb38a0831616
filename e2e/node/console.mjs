// A person at the console page, in headless Chromium: joins a topic, sends an
// event to it, sees it arrive among those of others. Reports by JSON lines.
//
//   node console.mjs URL CHROMIUM SCREENSHOT ROWS      the last: when it has seen enough

import { chromium } from "playwright-core"

const [url, executablePath, screenshot, rows] = process.argv.slice(2)
const report = (what, more) => console.log(JSON.stringify({ what, ...more }))

const browser = await chromium.launch({ executablePath })
try {
  const page = await browser.newPage({ viewport: { width: 1200, height: 700 }, deviceScaleFactor: 1.5, locale: "en" })
  page.setDefaultTimeout(120_000)
  page.on("pageerror", (error) => report("broken", { response: String(error) }))
  page.on("console", (line) => line.type() === "error" && report("broken", { response: line.text() }))

  await page.goto(url)
  await page.fill("#topic", "orders:eu")
  await page.click("#join")
  await page.waitForSelector("#topics li[data-state=joined]")
  report("joined")

  await page.fill("#event", "created")
  await page.fill("#payload", '{"id": 7, "total": "19.90"}')
  await page.click("#send")
  await page.waitForSelector("#feed tr:has-text('19.90')")
  report("sent", { response: await page.textContent("#outcome") })

  await page.waitForFunction((n) => document.querySelectorAll("#feed tr").length >= n, Number(rows))
  const cells = await page.$$eval("#feed tr", (all) => all.map((row) => [...row.cells].map((cell) => cell.textContent)))
  for (const cell of cells.flat()) if (/[\p{Cc}\p{Bidi_Control}]/u.test(cell)) report("broken", { response: "shows a control character" })
  for (const [, topic, event, , , payload] of cells.reverse()) report("row", { topic, event, payload: JSON.parse(payload) })
  await page.screenshot({ path: screenshot, animations: "disabled" })
} finally {
  await browser.close()
}
