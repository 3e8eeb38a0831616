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

  // On the smallest phones, a narrow one, a tablet and a wide screen: nothing is cut off.
  await page.fill("#event", "e".repeat(255))
  await page.fill("#payload", JSON.stringify({ word: "w".repeat(400) }))
  await page.click("#send")
  await page.waitForSelector("#feed tr:has-text('wwww')")
  for (const width of [320, 360, 768, 1920]) {
    await page.setViewportSize({ width, height: 740 })
    const beyond = await page.evaluate((width) => {
      const scroll = document.querySelector(".scroll")
      const cut = [...document.querySelectorAll("#feed td, .panel, header > *, button, input, textarea")]
        .filter((each) => { const { right, width: own } = each.getBoundingClientRect(); return own > 0 && right > width + 1 })
      const wide = document.documentElement.scrollWidth > width || scroll.scrollWidth > scroll.clientWidth
      return wide || cut.length > 0 ? cut.map((each) => each.outerHTML.slice(0, 80)).join(" ") || "scrolls sideways" : ""
    }, width)
    if (beyond) report("broken", { response: `cut off at ${width} px: ${beyond}` })
    await page.screenshot({ path: screenshot.replace(".png", `-${width}.png`), animations: "disabled", fullPage: true })
  }
} finally {
  await browser.close()
}
