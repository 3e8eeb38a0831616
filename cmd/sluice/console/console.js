"use strict";

// ---- Phoenix Channels, version 2, over one WebSocket ----------------------

const heartbeatEvery = 30_000;
const joinTimeout = 10_000;
const retryPauses = [200, 500, 1_000, 2_000, 5_000]; // then the last one again

// A Channel is joined for as long as it is wanted, across connections: it
// resumes after the last offset that it has seen.
class Channel {
  constructor(socket, topic) {
    Object.assign(this, { socket, topic, state: "joining", note: "", joinRef: null, after: null, epoch: undefined });
  }

  join() {
    clearTimeout(this.timer);
    if (!this.socket.open) return this.become("joining", "waiting for the connection");
    this.become("joining");
    this.joinRef = this.socket.push(this.topic, "phx_join", { after: this.after, epoch: this.epoch });
    this.timer = setTimeout(() => this.join(), joinTimeout);
  }

  leave() {
    clearTimeout(this.timer);
    if (this.socket.open) this.socket.push(this.topic, "phx_leave", {}, this.joinRef);
  }

  receive(event, payload, ref, joinRef) {
    if (joinRef !== null && joinRef !== this.joinRef) return; // of a join that is over
    switch (event) {
      case "phx_reply":
        if (ref === this.joinRef) this.answered(payload);
        return;
      case "phx_error":
        this.become("joining", "the channel crashed; joining again");
        this.retry();
        return;
      case "phx_close":
        this.become("closed", "closed by the server");
        return;
    }
    // All comes in an envelope, and with an offset what comes from the log. The
    // protocol's own messages do not.
    const own = event === "presence_state" || event === "presence_diff";
    const { offset, data } = own ? { data: payload } : payload;
    if (offset !== undefined) this.after = offset;
    this.socket.onEvent({ topic: this.topic, event, offset: offset ?? null, payload: data });
  }

  answered({ status, response }) {
    clearTimeout(this.timer);
    if (status !== "ok") {
      this.become("refused", response.reason ?? "refused");
      return;
    }
    const lost = this.after !== null && !response.resumed;
    if (this.after === null || lost) this.after = response.offset;
    this.epoch = response.epoch;
    this.become("joined", lost ? `could not resume: on from ${response.offset}` : `at offset ${this.after}`);
  }

  retry() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.join(), 1_000);
  }

  become(state, note = "") {
    Object.assign(this, { state, note });
    this.socket.onChannel(this);
  }
}

// A Socket connects, and connects again until told otherwise.
class Socket {
  constructor({ url, protocols, mayRetry, onState, onEvent, onChannel }) {
    Object.assign(this, { url, protocols, mayRetry, onState, onEvent, onChannel });
    this.channels = new Map();
    this.refs = 0;
    this.failures = 0;
    this.stopped = false;
  }

  get open() { return this.ws?.readyState === WebSocket.OPEN; }

  connect() {
    this.stopped = false;
    this.onState("connecting");
    const ws = this.ws = new WebSocket(this.url, this.protocols());
    let opened = false;
    ws.onopen = () => {
      opened = true;
      this.failures = 0;
      this.pendingBeat = null;
      this.beat = setInterval(() => this.heartbeat(), heartbeatEvery);
      this.onState("connected");
      for (const channel of this.channels.values()) channel.join();
    };
    ws.onmessage = ({ data }) => {
      if (typeof data !== "string") return;
      const [joinRef, ref, topic, event, payload] = JSON.parse(data);
      if (topic === "phoenix") this.pendingBeat = null;
      else this.channels.get(topic)?.receive(event, payload, ref, joinRef);
    };
    ws.onclose = async ({ code, reason }) => {
      clearInterval(this.beat);
      for (const channel of this.channels.values()) {
        clearTimeout(channel.timer);
        if (channel.state !== "refused" && channel.state !== "closed") channel.become("joining", "waiting for the connection");
      }
      const pause = retryPauses[Math.min(this.failures++, retryPauses.length - 1)];
      this.onState("reconnecting", code === 1006 ? "" : reason || `code ${code}`);
      // A refused handshake looks like any other failure: only the API tells.
      this.stopped = !opened && !await this.mayRetry();
      if (this.stopped) return;
      setTimeout(() => this.connect(), pause * (0.75 + Math.random() / 2));
    };
  }

  heartbeat() {
    if (this.pendingBeat) return this.ws.close(4000, "no answer to a heartbeat");
    this.pendingBeat = this.push("phoenix", "heartbeat", {}, null);
  }

  push(topic, event, payload, joinRef) {
    const ref = String(++this.refs);
    this.ws.send(JSON.stringify([joinRef === undefined ? ref : joinRef, ref, topic, event, payload]));
    return ref;
  }

  join(topic) {
    if (!this.channels.has(topic)) this.channels.set(topic, new Channel(this, topic));
    this.channels.get(topic).join();
    if (this.stopped) this.connect();
  }

  leave(topic) {
    this.channels.get(topic)?.leave();
    this.channels.delete(topic);
  }
}

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
    throw new Error((body.error ?? `The service answered ${response.status} ${response.statusText}`) + hint);
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

const socket = new Socket({
  url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/console/websocket?vsn=2.0.0`,
  protocols: () => token() ? ["phoenix", bearerProtocol(token())] : [],
  mayRetry: async () => {
    try {
      await ask("/api/stats");
    } catch (error) {
      if (error instanceof Locked) {
        showState("refused", "the admin token is needed");
        return false;
      }
    }
    return true;
  },
  onState: showState,
  onEvent: arrive,
  onChannel: showTopics,
});

function showTopics() {
  const channels = [...socket.channels.values()];
  $("topics").replaceChildren(...channels.map(({ topic, state, note, here }) => {
    const item = element("li");
    item.dataset.state = state;
    const leave = element("button", "quiet", "Leave");
    leave.type = "button";
    leave.setAttribute("aria-label", `Leave ${topic}`);
    leave.onclick = () => { socket.leave(topic); showTopics(); $("topic").focus(); };
    const notes = [state, note, state === "joined" ? here : ""].filter(Boolean);
    item.append(element("span", "name", topic), element("span", "note", notes.join(", ")), leave);
    return item;
  }));
  $("joined").replaceChildren(...channels.map(({ topic }) => Object.assign(element("option"), { value: topic })));
}

// lookAround asks who is on the joined topics. Those whose rule has no presence have nobody.
async function lookAround() {
  for (const channel of socket.channels.values()) {
    if (channel.state !== "joined") continue;
    try {
      const { count, members } = await ask(`/api/presence/${encodeURIComponent(channel.topic)}`);
      const keys = Object.keys(members);
      const named = keys.slice(0, 5).map((key) => key.slice(0, 40)).join(", ") + (keys.length > 5 ? ", …" : "");
      const here = count > 0 ? `${count} here: ${named}` : "";
      if (here === channel.here) continue;
      channel.here = here;
      showTopics();
    } catch (error) {
      if (error instanceof Locked) return;
    }
  }
}

const lookEvery = 5_000;
const look = () => setTimeout(() => lookAround().finally(look), lookEvery);
look();

$("join-form").onsubmit = (e) => {
  e.preventDefault();
  const topic = $("topic").value.trim();
  if (!topic) return;
  socket.join(topic);
  $("send-topic").value = topic;
};

// What was sent from here and has not come back yet: identity → times of
// sending, oldest first. It is bounded, since what nobody joined never comes.
const underWay = new Map();
const maxUnderWay = 1000;
const identity = (topic, event, payload) => JSON.stringify([topic, event, payload]);

function depart(id) {
  const times = underWay.get(id) ?? [];
  times.push(performance.now());
  underWay.set(id, times);
  if (underWay.size > maxUnderWay) underWay.delete(underWay.keys().next().value);
}

// latencyOf tells how long an event took that was sent from here, else null.
function latencyOf(id) {
  const sent = underWay.get(id)?.shift();
  if (!underWay.get(id)?.length) underWay.delete(id);
  return sent === undefined ? null : performance.now() - sent;
}

function outcome(kind, text) {
  $("outcome").className = kind;
  $("outcome").textContent = visible(text);
}

function readPayload() {
  const text = $("payload").value.trim() || "{}";
  let payload;
  try {
    payload = JSON.parse(text);
  } catch (e) {
    throw new Error(`The payload is no JSON: ${e.message}`);
  }
  if (payload === null || typeof payload !== "object" || Array.isArray(payload)) {
    throw new Error('The payload has to be a JSON object, such as {"id": 7}.');
  }
  return [payload, text];
}

$("payload").oninput = () => {
  try {
    readPayload();
    $("payload").removeAttribute("aria-invalid");
  } catch {
    $("payload").setAttribute("aria-invalid", "true");
  }
};

$("payload").onkeydown = (e) => {
  if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) $("send-form").requestSubmit();
};

$("send-form").onsubmit = async (e) => {
  e.preventDefault();
  const topic = $("send-topic").value.trim();
  const event = $("event").value.trim();
  const way = new FormData($("send-form")).get("way");
  $("send").disabled = true;
  let id;
  try {
    const [payload, text] = readPayload();
    id = identity(topic, event, payload);
    depart(id);
    // The payload goes as it was typed: numbers keep their digits.
    const body = `{"topic":${JSON.stringify(topic)},"event":${JSON.stringify(event)},"payload":${text}}`;
    await ask(`/api/${way}`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
    const done = way === "events" ? "Published: it is in the log." : "Broadcast to whoever is joined.";
    outcome("good", socket.channels.has(topic) ? done : `${done} Join ${topic} to see such events arrive.`);
  } catch (error) {
    if (id) underWay.delete(id);
    outcome("bad", error.message);
  } finally {
    $("send").disabled = false;
  }
};

const maxRows = 200;
let count = 0;
let waiting = []; // arrived, not shown yet: newest last, maxRows at most
let painting = 0;
let paused = false;

function arrive(message) {
  message.latency = latencyOf(identity(message.topic, message.event, message.payload));
  message.time = new Date();
  count++;
  waiting.push(message);
  if (waiting.length > maxRows) waiting.shift();
  painting ||= requestAnimationFrame(paint);
}

// paint shows what has arrived since the last frame, however much that is.
function paint() {
  painting = 0;
  $("count").textContent = count.toLocaleString("en");
  if (paused) return;
  $("feed").prepend(...waiting.reverse().map(rowOf));
  waiting = [];
  while ($("feed").rows.length > maxRows) $("feed").deleteRow(-1);
  $("empty").hidden = $("feed").rows.length > 0;
}

function rowOf({ time, topic, event, offset, latency, payload }) {
  const row = element("tr");
  row.append(
    element("td", "", time.toLocaleTimeString("en-GB") + "." + String(time.getMilliseconds()).padStart(3, "0")),
    element("td", "", topic),
    element("td", "event", event),
    offset === null ? element("td", "number faint", "broadcast") : element("td", "number", offset),
    element("td", "number faint", latency === null ? "–" : `${latency.toFixed(1)} ms`),
    element("td", "", JSON.stringify(payload)),
  );
  return row;
}

$("pause").onclick = () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", paused);
  $("pause").textContent = paused ? "Resume" : "Pause";
  paint();
};

$("clear").onclick = () => {
  count = 0;
  waiting = [];
  $("feed").replaceChildren();
  paint();
};

socket.connect();
