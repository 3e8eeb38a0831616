"use strict";

// Curves over the last minutes, from a list of times in seconds and one list of numbers for
// each curve, with null where there is nothing.

const span = 600, least = 60; // seconds shown: at most, and where there are fewer
const curveHeight = 190, left = 58; // pixels: of a picture, and of its numbers

class Curves {
  // series: [{ label, color, format }], color being the name of a property of the style.
  constructor(id, series) {
    Object.assign(this, { id, series, title: $(id).getAttribute("aria-label"), data: [[], ...series.map(() => [])] });
    this.values = series.map(({ label, color }) => {
      const item = element("li", color);
      const value = element("b", "", "–");
      item.append(element("span", "", label), " ", value);
      $(`${id}-legend`).append(item);
      return value;
    });
    new ResizeObserver(() => this.draw()).observe($(id));
    $(id).onpointermove = (e) => this.tell(e.clientX - $(id).getBoundingClientRect().left);
    $(id).onpointerleave = () => this.tell(null);
  }

  set(data) {
    this.data = data;
    this.trim();
    this.draw();
  }

  // add adds a moment, unless it is known already.
  add(at, values) {
    const [times, ...curves] = this.data;
    if (times.length > 0 && at <= times[times.length - 1]) return;
    times.push(at);
    curves.forEach((curve, i) => curve.push(values[i]));
    this.trim();
    this.draw();
  }

  trim() {
    const [times] = this.data;
    let n = 0;
    while (n < times.length && times[n] < times[times.length - 1] - span) n++;
    if (n > 0) for (const list of this.data) list.splice(0, n);
  }

  range() {
    const [times] = this.data;
    const end = times.length > 0 ? times[times.length - 1] : Date.now() / 1000;
    return [Math.min(Math.max(times[0] ?? 0, end - span), end - least), end];
  }

  draw() {
    this.series.forEach(({ label, format }, i) => {
      const curve = this.data[i + 1];
      const last = curve[curve.length - 1] ?? null;
      this.values[i].textContent = last === null ? "–" : format(last);
    });
    const told = this.series.map(({ label, format }, i) => {
      const known = this.data[i + 1].filter((n) => n !== null);
      if (known.length === 0) return `${label}: nothing yet`;
      return `${label}: now ${this.values[i].textContent}, at most ${format(known.reduce((a, b) => Math.max(a, b)))}`;
    });
    $(this.id).setAttribute("aria-label", `${this.title}. ${told.join("; ")}.`);
    const width = $(this.id).clientWidth;
    if (width === 0) return; // it is not shown
    this.picture(width);
  }

  // tell shows in the legend what was at a place of the picture, or the last of all.
  tell(x) {
    const [times, ...curves] = this.data;
    const [from, to] = this.range();
    const at = from + (x - left) / ($(this.id).clientWidth - left) * (to - from);
    let i = times.length - 1;
    while (x !== null && i > 0 && times[i] > at) i--;
    curves.forEach((curve, n) => {
      const value = curve[i] ?? null;
      this.values[n].textContent = value === null ? "–" : this.series[n].format(value);
    });
  }

  picture(width) {
    const [from, to] = this.range();
    const all = this.data.slice(1).flat().filter((n) => n !== null);
    const high = (all.reduce((a, b) => Math.max(a, b), 0) || 1) * 1.1;
    const bottom = curveHeight - 20;
    const x = (at) => left + (at - from) / (to - from) * (width - left);
    const y = (n) => bottom - n / high * (bottom - 6);
    const picture = drawing("svg", { width, height: curveHeight, "aria-hidden": "true" });
    for (const part of [0, 0.5, 1]) {
      const n = high / 1.1 * part;
      picture.append(
        drawing("line", { class: "grid", x1: left, x2: width, y1: y(n), y2: y(n) }),
        drawing("text", { x: left - 8, y: y(n) + 4, "text-anchor": "end" }, n === 0 ? "0" : this.series[0].format(n)));
    }
    const step = to - from > 240 ? 120 : to - from > 120 ? 60 : 30;
    for (let at = Math.ceil(from / step) * step; at < to; at += step)
      picture.append(drawing("text", { x: x(at), y: curveHeight - 4, "text-anchor": "middle" }, clock(at)));
    this.series.forEach(({ color }, i) => {
      const points = this.data[0].flatMap((at, j) => this.data[i + 1][j] === null ? [] : [`${x(at).toFixed(1)},${y(this.data[i + 1][j]).toFixed(1)}`]);
      picture.append(drawing("polyline", { class: color, points: points.join(" ") }));
    });
    $(this.id).replaceChildren(picture);
  }
}

const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: at % 60 ? "2-digit" : undefined });

// drawing makes an element of a picture.
function drawing(tag, attributes, text) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  if (text !== undefined) e.textContent = text;
  return e;
}
