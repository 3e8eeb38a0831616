// A person at the console page, in headless Chromium: looks at what the service does, joins
// a topic, sends an event to it, sees it arrive among those of others. Reports by JSON lines.
//
//   node console.mjs URL CHROMIUM SCREENSHOT ROWS      the last: when it has seen enough

import { chromium } from "playwright-core"

const [url, executablePath, screenshot, rows] = process.argv.slice(2)
const report = (what, more) => console.log(JSON.stringify({ what, ...more }))
const picture = (name, options) => ({ path: screenshot.replace(".png", `${name}.png`), animations: "disabled", ...options })

const browser = await chromium.launch({ executablePath })
try {
  const page = await browser.newPage({ viewport: { width: 1400, height: 900 }, deviceScaleFactor: 1.25, locale: "en" })
  page.setDefaultTimeout(600_000)
  page.on("pageerror", (error) => report("broken", { response: String(error) }))
  page.on("console", (line) => line.type() === "error" && report("broken", { response: line.text() }))
  const shows = (selector, pattern) => page.waitForFunction(
    ([selector, pattern]) => new RegExp(pattern).test(document.querySelector(selector)?.textContent), [selector, pattern])

  await page.goto(url)
  await page.click('nav a[href="#try"]')
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
  await page.screenshot(picture("-try"))

  // A client without a token may join what the rules let it, and push what they let it.
  await page.check("input[value=push]")
  await page.click("#send")
  await shows("#outcome", "forbidden") // the operator is none
  await page.selectOption("#view", "nobody")
  await shows("#view-note", "^You are a client")
  await page.fill("#topic", "closed")
  await page.click("#join")
  await shows("#topics", "closed.*unauthorized")
  await page.waitForSelector("#topics li[data-state=joined]:has-text('orders:eu')")
  await page.fill("#send-topic", "orders:eu")
  await page.click("#send")
  await shows("#outcome", "the answer is ok")
  await page.selectOption("#view", "token")
  await page.fill("#view-token", "none.of.ours")
  await page.press("#view-token", "Tab")
  await shows("#view-note", "refused|^You are")
  await page.selectOption("#view", "operator")

  // Topics stay over a reload, and what has been sent can be read again.
  await page.reload()
  await page.waitForSelector("#topics li[data-state=joined]:has-text('orders:eu')")
  await page.selectOption("#from", "offset")
  await page.fill("#topic", "orders:eu")
  await page.fill("#from-number", "0")
  await page.click("#join")
  await page.waitForFunction((n) => document.querySelectorAll("#feed tr").length >= n, Number(rows))
  report("replayed", { response: await page.textContent("#feed tr:last-child") })

  // What the service does, as it tells: curves, the line, who is there, what was refused.
  await page.click('nav a[href="#overview"]')
  await page.waitForSelector("#busiest tr:has-text('orders:eu')")
  await page.waitForSelector("#sockets tr:has-text('live')")
  await page.waitForSelector("#nodes tr:has-text('this one')")
  await page.waitForSelector("#log li:has-text('connection refused')")
  await page.waitForSelector("#latency svg polyline[points*=',']")
  await shows("#tile-head", "head [1-9]")
  report("stages", { response: await page.$$eval("#line > li h3", (all) => all.map((each) => each.textContent).join(" ")) })
  await page.click("#tables tr:has-text('parcels:{state}'):has-text('published') button")
  await page.waitForSelector("#tables button[aria-pressed=true]")
  report("following")
  await page.waitForFunction(() => document.querySelectorAll("#changes tr").length >= 3)
  report("changes", { response: await page.$$eval("#changes tr", (all) => all.map((row) => [...row.cells].slice(1).map((cell) => cell.textContent).join(" ")).join(" | ")) })
  await page.fill("#presence-topic", "orders:eu")
  await page.press("#presence-topic", "Enter")
  await shows("#presence-outcome", "on orders:eu")
  report("curves", { response: await page.getAttribute("#throughput", "aria-label") })
  await page.evaluate(() => scrollTo(0, 0))
  await page.screenshot(picture(""))
  await page.emulateMedia({ colorScheme: "dark" })
  await page.screenshot(picture("-dark", { fullPage: true }))
  await page.emulateMedia({ colorScheme: "light" })

  // On the smallest phones, a narrow one, a tablet and a wide screen: nothing is cut off.
  await page.click('nav a[href="#try"]')
  await page.fill("#send-topic", "orders:eu")
  await page.fill("#event", "e".repeat(255))
  await page.fill("#payload", JSON.stringify({ word: "w".repeat(400) }))
  await page.click("#send")
  await page.waitForSelector("#feed tr:has-text('wwww')")
  for (const view of ["try", "overview"]) {
    await page.click(`nav a[href="#${view}"]`)
    for (const width of [320, 360, 768, 1920]) {
      await page.setViewportSize({ width, height: 740 })
      const beyond = await page.evaluate((width) => {
        const regions = [...document.querySelectorAll(".scroll")]
        const cut = [...document.querySelectorAll("td, .panel, header > *, button, input, textarea, select, .line > li, .tiles > div")]
          .filter((each) => { const { right, width: own } = each.getBoundingClientRect(); return own > 0 && right > width + 1 })
        const wide = document.documentElement.scrollWidth > width || regions.some((each) => each.scrollWidth > each.clientWidth)
        return wide || cut.length > 0 ? cut.map((each) => each.outerHTML.slice(0, 80)).join(" ") || "scrolls sideways" : ""
      }, width)
      if (beyond) report("broken", { response: `${view} is cut off at ${width} px: ${beyond}` })
      await page.screenshot(picture(`-${view}-${width}`, { fullPage: true }))
    }
  }

  // All that can be used can be reached by the keyboard, and has a name.
  const nameless = await page.evaluate(() => [...document.querySelectorAll("button, input, select, textarea, a, [tabindex='0'], [role=img]")]
    .filter((each) => !(each.labels?.length || each.textContent.trim() || each.getAttribute("aria-label") || each.getAttribute("aria-labelledby")))
    .map((each) => each.outerHTML.slice(0, 80)).join(" "))
  if (nameless) report("broken", { response: `has no name: ${nameless}` })
} finally {
  await browser.close()
}
