"use strict";

// ---- The admin API ---------------------------------------------------------

const tokenKey = "sluice-admin-token";
const token = () => sessionStorage.getItem(tokenKey);

// ask sends a request, with the token once there is one. It asks for the token
// when the service wants it, and throws what the API says is wrong.
async function ask(path, options = {}) {
  for (;;) {
    let response;
    try {
      response = await fetch(path, {
        ...options,
        headers: { ...options.headers, ...(token() && { Authorization: `Bearer ${bytesOf(token())}` }) },
      });
    } catch {
      throw new Error("The service cannot be reached. Is it running?");
    }
    if (response.status === 401) {
      await unlock();
      continue;
    }
    const body = await response.json().catch(() => ({}));
    if (response.ok) return body;
    const hint = body.hint ? ` – ${body.hint}` : "";
    throw Object.assign(new Error((body.error ?? `The service answered ${response.status} ${response.statusText}`) + hint), { status: response.status });
  }
}

// Headers and btoa take a string of bytes: a token goes as its UTF-8.
const bytesOf = (text) => String.fromCharCode(...new TextEncoder().encode(text));

// A token for a subprotocol: base64 in the alphabet that is allowed there.
function bearerProtocol(secret) {
  return "base64url.bearer.phx." + btoa(bytesOf(secret)).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

// ---- The page --------------------------------------------------------------

const $ = (id) => document.getElementById(id);

// visible shows what would not be seen, or would turn the direction of what
// stands beside it: controls and marks of Unicode, as JSON escapes them.
const invisible = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
const visible = (text) => String(text).replace(invisible, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));

function element(tag, className, text) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = visible(text);
  return e;
}

// Locked says that the token was asked for and not given.
class Locked extends Error {}

let unlocking = null;

// unlock asks for the admin token, once however many requests need it.
function unlock() {
  unlocking ??= new Promise((resolve, reject) => {
    $("token-error").textContent = token() ? "That is not the token." : "";
    $("token").value = "";
    $("token-dialog").showModal();
    const settle = (done) => {
      unlocking = null;
      $("token-dialog").close();
      done();
    };
    $("token-form").onsubmit = (e) => {
      e.preventDefault();
      sessionStorage.setItem(tokenKey, $("token").value.trim());
      settle(resolve);
    };
    const cancel = () => settle(() => reject(new Locked("The admin token is needed for this.")));
    $("token-cancel").onclick = cancel;
    $("token-dialog").oncancel = cancel;
  });
  return unlocking;
}

function showState(state, detail = "") {
  $("state").dataset.state = state;
  $("state").textContent = visible(detail ? `${state} (${detail})` : state);
}

// ask whether it is the token that keeps a socket from connecting. It is asked for then.
async function mayRetry() {
  try {
    await ask("/api/stats");
  } catch (error) {
    if (error instanceof Locked) {
      showState("refused", "the admin token is needed");
      return false;
    }
  }
  return true;
}

// socketAt makes a socket of the admin listener's.
const socketAt = (path, callbacks) => new Socket({
  url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`,
  protocols: () => token() ? ["phoenix", bearerProtocol(token())] : [],
  mayRetry,
  onState() {},
  onEvent() {},
  onChannel() {},
  ...callbacks,
});

// ---- Numbers ---------------------------------------------------------------

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

// number is a count or a rate, short: 7, 0.25, 12.3K.
const number = (n) => n >= 1000 ? compact.format(n) : String(Number(n.toPrecision(3)));

// duration is a time in seconds, in the unit that fits.
function duration(s) {
  if (s <= 0) return "–";
  if (s < 0.001) return `${Number((s * 1e6).toPrecision(2))} µs`;
  if (s < 1) return `${Number((s * 1e3).toPrecision(s < 0.01 ? 2 : 3))} ms`;
  if (s < 10) return `${Number(s.toPrecision(2))} s`;
  if (s < 100) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 172_800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}

function bytes(n) {
  if (n < 1024) return `${n} B`;
  if (n < 1 << 20) return `${Number((n / 1024).toPrecision(3))} KiB`;
  return `${Number((n / (1 << 20)).toPrecision(3))} MiB`;
}

// ago is how long it is since a time of the service, by the service's own clock.
const ago = (text, now) => duration(Math.max((new Date(now) - new Date(text)) / 1000, 0.001));

// ---- Views -----------------------------------------------------------------

const views = { "#overview": "overview-view", "#try": "try-view" };

function showView() {
  const at = location.hash in views ? location.hash : "#overview";
  for (const [hash, id] of Object.entries(views)) {
    $(id).hidden = hash !== at;
    const link = document.querySelector(`nav a[href="${hash}"]`);
    if (hash === at) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  dispatchEvent(new Event("resize")); // curves are as wide as what they stand in
}

addEventListener("hashchange", showView);
