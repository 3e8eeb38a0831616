"use strict";

// Topics to watch, as the operator or as a client, and events to send.

let viewer = operator; // whose topics are watched

// kept remembers the topics over a reload of the page.
const topicsKey = "sluice-topics";
const kept = {
  read() {
    try {
      return JSON.parse(localStorage.getItem(topicsKey) ?? "[]").filter((each) => typeof each === "string").slice(0, 100);
    } catch {
      return [];
    }
  },
  write: () => localStorage.setItem(topicsKey, JSON.stringify(watched().map(({ topic }) => topic))),
};

const watched = () => [...viewer.channels.values()].filter(({ topic }) => topic !== consoleTopic);

function watch(topic, after) {
  viewer.join(topic, after);
  kept.write();
}

function showTopics() {
  const channels = watched();
  $("topics").replaceChildren(...channels.map(({ topic, state, note, here }) => {
    const item = element("li");
    item.dataset.state = state;
    const leave = element("button", "quiet", "Leave");
    leave.type = "button";
    leave.setAttribute("aria-label", `Leave ${topic}`);
    leave.onclick = () => { viewer.leave(topic); kept.write(); showTopics(); $("topic").focus(); };
    const notes = [state, note, state === "joined" ? here : ""].filter(Boolean);
    item.append(element("span", "name", topic), element("span", "note", notes.join(", ")), leave);
    return item;
  }));
  $("joined").replaceChildren(...channels.map(({ topic }) => Object.assign(element("option"), { value: topic })));
}

// lookAround asks who is on the joined topics. Those whose rule has no presence have nobody.
async function lookAround() {
  for (const channel of watched()) {
    if (channel.state !== "joined") continue;
    const { count, members } = await ask(`/api/presence/${encodeURIComponent(channel.topic)}`);
    const keys = Object.keys(members);
    const named = keys.slice(0, 5).map((key) => key.slice(0, 40)).join(", ") + (keys.length > 5 ? ", …" : "");
    const here = count > 0 ? `${count} here: ${named}` : "";
    if (here === channel.here) continue;
    channel.here = here;
    showTopics();
  }
}

// ---- From where, and as whom -----------------------------------------------

$("from").onchange = () => {
  const from = $("from").value;
  $("from-number-label").hidden = from !== "offset" && from !== "last";
  $("from-number-name").textContent = from === "last" ? "How many" : "Offset";
  $("from-number").value = from === "last" ? 100 : 0;
};

// startOf is the offset to join after: null is from now on. The last ones are counted
// over the whole log, whatever the topic.
function startOf() {
  const n = Math.max(Math.trunc($("from-number").valueAsNumber) || 0, 0);
  switch ($("from").value) {
    case "offset": return n;
    case "last": return Math.max((latest?.head ?? 0) - n, 0);
    case "start": return 0;
  }
  return null;
}

const viewNotes = {
  operator: "The rules of the topics do not count for the operator.",
  nobody: "You are a client without a token: the rules of the topics count, and others may see you there.",
  token: "You are a client with that token: the rules of the topics count, and others may see you there.",
};

// viewAs watches the same topics anew, as somebody else.
function viewAs(who, secret) {
  const topics = watched().map(({ topic }) => topic);
  if (viewer === operator) for (const topic of topics) operator.leave(topic);
  else viewer.end();
  if (who === "operator") {
    viewer = operator;
  } else {
    const path = `/console/view/websocket?vsn=2.0.0${who === "token" ? `&token=${encodeURIComponent(secret)}` : ""}`;
    viewer = socketAt(path, {
      onEvent: arrive,
      onChannel: (channel) => { if (channel.socket === viewer) showTopics(); },
      onState: (state, detail) => text("view-note", state === "connected" ? viewNotes[who] : visible(`As this client: ${state}${detail ? ` (${detail})` : ""}`)),
      mayRetry: () => mayView(who === "token" ? secret : ""),
    });
    viewer.connect();
  }
  for (const topic of topics) viewer.join(topic);
  showTopics();
}

// mayView asks why the service has not let a client in: that it tells the operator, and not
// a page that wants a socket.
async function mayView(secret) {
  if (!await mayRetry()) return false;
  try {
    const { status, response } = await operator.channels.get(consoleTopic).push("check", { token: secret });
    if (status === "ok") return true;
    text("view-note", `Such a client is refused: ${response.reason}`);
    return false;
  } catch {
    return true; // the operator is not connected either
  }
}

$("view").onchange = () => {
  const who = $("view").value;
  $("view-token-label").hidden = who !== "token";
  $("view-note").textContent = viewNotes[who];
  if (who === "token" && !$("view-token").value.trim()) return $("view-token").focus();
  viewAs(who, $("view-token").value.trim());
};

$("view-token").onchange = () => viewAs("token", $("view-token").value.trim());

$("join-form").onsubmit = (e) => {
  e.preventDefault();
  const topic = $("topic").value.trim();
  if (!topic || topic === consoleTopic) return;
  watch(topic, startOf());
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
    let done = "Pushed: the answer is ok.";
    if (way === "push") {
      const channel = viewer.channels.get(topic);
      if (!channel) throw new Error(`Join ${topic} first: a client pushes on a channel that it has joined.`);
      const { status, response } = await channel.push(event, payload);
      if (status !== "ok") throw new Error(`The answer is ${status}: ${response.reason ?? JSON.stringify(response)}`);
    } else {
      await ask(`/api/${way}`, { method: "POST", headers: { "Content-Type": "application/json" }, body });
      done = way === "events" ? "Published: it is in the log." : "Broadcast to whoever is joined.";
    }
    outcome("good", viewer.channels.has(topic) ? done : `${done} Join ${topic} to see such events arrive.`);
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
  const calm = waiting.length < 20; // else all of it is new
  $("feed").prepend(...waiting.reverse().map((message) => rowOf(message, calm ? "new" : "")));
  waiting = [];
  while ($("feed").rows.length > maxRows) $("feed").deleteRow(-1);
  $("empty").hidden = $("feed").rows.length > 0;
}

function rowOf({ time, topic, event, offset, latency, payload }, className) {
  const row = element("tr", className);
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

showView();
followOverview();
for (const topic of kept.read()) viewer.join(topic);
operator.connect();
