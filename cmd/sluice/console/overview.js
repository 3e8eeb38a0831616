"use strict";

// What the node does, as it tells consoles on a topic that they alone may join.

const consoleTopic = "sluice:console";

const throughput = new Curves("throughput", [
  { label: "messages/s", color: "first", format: number },
  { label: "events/s", color: "second", format: number },
]);
const latency = new Curves("latency", [
  { label: "p99", color: "third", format: duration },
  { label: "p50", color: "first", format: duration },
]);

const some = (n) => n > 0 ? n : null; // where nothing was delivered, no time was taken

let latest = null; // what was told last

const operator = socketAt("/console/websocket?vsn=2.0.0", {
  onState: (state, detail) => {
    showState(state, detail);
    document.body.classList.toggle("stale", state !== "connected");
  },
  onEvent: (message) => message.topic === consoleTopic ? show(message.payload) : arrive(message),
  onChannel: (channel) => { if (channel.topic !== consoleTopic) showTopics(); },
});

function followOverview() {
  const channel = operator.join(consoleTopic);
  channel.fresh = true; // what was told before is told anew
  channel.onJoined = ({ history, overview }) => {
    showTables().catch(() => {}); // and every few seconds
    const { at, routed, pushed, p50, p99 } = history;
    const times = (at ?? []).map((ms) => ms / 1000);
    throughput.set([times, pushed ?? [], routed ?? []]);
    latency.set([[...times], (p99 ?? []).map(some), (p50 ?? []).map(some)]);
    show(overview);
  };
}

function show(overview) {
  latest = overview;
  const { at, routed, pushed, p50, p99 } = overview.sample;
  if (at?.length > 0) {
    throughput.add(at[0] / 1000, [pushed[0], routed[0]]);
    latency.add(at[0] / 1000, [some(p99[0]), some(p50[0])]);
  }
  for (const part of [showTiles, showTrouble, showLine, showBusiest, showSockets, showLog, showNodes]) part(overview);
}

const text = (id, what) => { if ($(id).textContent !== what) $(id).textContent = visible(what); };

function showTiles(o) {
  text("node", o.node);
  text("tile-routed", number(o.lately.routed));
  text("tile-pushed", number(o.lately.pushed));
  text("tile-p50", duration(o.lately.p50));
  text("tile-p99", `p99 ${duration(o.lately.p99)}`);
  text("tile-sockets", whole.format(o.sockets));
  text("tile-channels", `${whole.format(o.channels)} channels`);
  text("tile-lag", whole.format(Math.max(o.head - o.position, 0)));
  text("tile-head", `events, head ${o.head}`);
  text("tile-outbox", whole.format(o.outbox_rows));
  text("tile-age", o.outbox_rows > 0 ? `rows, since ${duration(o.outbox_age)}` : "rows");
  const { leader } = o;
  text("tile-leader", !leader ? "nobody" : leader.shared ? "all in turn" : leader.node);
  text("tile-since", !leader ? "is known" : leader.self ? `this node, for ${ago(leader.since, o.at)}` : `for ${ago(leader.since, o.at)}`);
}

function showTrouble(o) {
  const troubles = [];
  if (!o.ready) troubles.push("This node is not ready: GET /readyz says why.");
  if (!o.cluster.connected) troubles.push(`It cannot talk to other nodes: ${o.cluster.reason}`);
  if (o.revocations && !o.revocations.known) troubles.push("It does not know which tokens are revoked, and refuses clients with tokens.");
  $("trouble").hidden = troubles.length === 0;
  text("trouble", troubles.join(" "));
}

// ---- The line --------------------------------------------------------------

const works = {
  fetch: "reads the log",
  batch: "joins what is there",
  encode: "makes frames of it",
  route: "finds the subscribers",
  mailbox: "waits for a client",
  write: "sends to the sockets",
};

const busyFrom = 0.5; // as the service has it
let slowestSeen = []; // of the last few times: what holds the line up for a moment does not count

function showLine(o) {
  slowestSeen = [...slowestSeen, o.slowest_stage].slice(-5);
  const slowest = o.slowest_stage && slowestSeen.filter((name) => name === o.slowest_stage).length >= 3 ? o.slowest_stage : "";
  const stages = [
    { stage: "outbox", work: "rows to be sequenced", facts: [["rows", number(o.outbox_rows)], ["oldest", duration(o.outbox_age)], ["leader", o.leader?.node ?? "–"]] },
    ...o.stages.map((s) => ({
      stage: s.stage, work: works[s.stage], busy: s.stage === "mailbox" ? null : s.busy, errors: s.errors,
      facts: [
        ["time", spreadOf(s.time)],
        ["wait", spreadOf(s.wait)],
        ["batches/s", number(s.batches)],
        ["demand", s.demand === null ? "–" : number(s.demand)],
        ["depth", s.depth === null ? "–" : number(s.depth)],
      ],
    })),
    { stage: "sockets", work: "of clients", facts: [["open", whole.format(o.sockets)], ["messages/s", number(o.lately.pushed)]] },
  ];
  reconcile($("line"), stages, stageItem, (item, s) => {
    const { heading, work, bar, share, facts } = item.parts;
    item.dataset.stage = s.stage;
    item.classList.toggle("end", s.stage === "outbox" || s.stage === "sockets");
    item.classList.toggle("slowest", s.stage === slowest);
    setText(heading, s.stage);
    setText(work, s.errors > 0 ? `${s.errors} failures` : s.work);
    bar.hidden = share.hidden = s.busy === undefined || s.busy === null;
    if (!bar.hidden) {
      bar.value = Math.min(s.busy, 1);
      bar.className = s.busy >= busyFrom ? "busy" : "";
      setText(share, s.busy > 1 ? `${number(s.busy)} at a time` : `${Math.round(s.busy * 100)} % busy`);
    }
    reconcile(facts, s.facts, factItem, (row, [name, value]) => { setText(row.parts.name, name); setText(row.parts.value, value); });
  });
  const told = slowest ? `${slowest} holds the others up.` : o.stages.length > 0 ? "Nothing holds it up." : "It does not run yet.";
  text("slowest", told);
  $("slowest").classList.toggle("warn", slowest !== "");
}

// spreadOf writes both quantiles, with the unit once where it is the same.
function spreadOf({ p50, p99 }) {
  if (p50 <= 0) return "–";
  const [low, high] = [duration(p50), duration(p99)];
  const unit = high.slice(high.indexOf(" "));
  return `${low.endsWith(unit) ? low.slice(0, -unit.length) : low} · ${high}`;
}

function stageItem() {
  const item = element("li");
  const parts = { heading: element("h3"), work: element("p", "work"), bar: element("progress"), share: element("p", "share"), facts: element("dl") };
  parts.bar.max = 1;
  parts.bar.setAttribute("aria-label", "busy");
  item.append(...Object.values(parts));
  item.parts = parts;
  return item;
}

function factItem() {
  const row = element("div");
  row.parts = { name: element("dt"), value: element("dd") };
  row.append(row.parts.name, row.parts.value);
  return row;
}

// ---- Lists -----------------------------------------------------------------

// reconcile has as many children in a parent as there are things, and each show its own:
// what stays the same is left alone, so that nothing flickers and focus stays.
function reconcile(parent, things, make, update) {
  while (parent.children.length > things.length) parent.lastChild.remove();
  while (parent.children.length < things.length) parent.append(make());
  things.forEach((thing, i) => update(parent.children[i], thing));
}

function setText(e, what) {
  const shown = visible(what);
  if (e.textContent !== shown) e.textContent = shown;
}

// fill shows rows of cells in a table; a cell is a text or [text, class].
function fill(id, rows, labels) {
  reconcile($(id), rows, () => element("tr"), (tr, cells) => {
    reconcile(tr, cells, () => element("td"), (td, cell) => {
      const [what, className] = Array.isArray(cell) ? cell : [cell, ""];
      setText(td, what);
      if (td.className !== className) td.className = className;
    });
    labels.forEach((label, i) => { tr.children[i].dataset.label = tr.children[i].textContent === "–" ? "" : label; });
  });
}


function showBusiest(o) {
  const topics = o.busiest.filter(({ topic }) => topic !== consoleTopic);
  const total = Math.max(o.topics - (o.busiest.length - topics.length), topics.length);
  text("busiest-total", topics.length < total ? `the busiest ${topics.length} of ${whole.format(total)}` : whole.format(total));
  fill("busiest", topics.map(({ topic, rate, channels, present }) => [
    [topic, "name"], [number(rate), "number"], [whole.format(channels), "number"], [present > 0 ? whole.format(present) : "–", "number"],
  ]), ["", "messages/s", "subscribers", "present"]);
  $("busiest-empty").hidden = topics.length > 0;
  reconcile($("known-topics"), topics, () => element("option"), (option, { topic }) => { option.value = topic; });
}

function showSockets({ slowest, at }) {
  const { sockets, total } = slowest;
  text("sockets-total", sockets.length < total ? `the slowest ${sockets.length} of ${whole.format(total)}` : whole.format(total));
  fill("sockets", sockets.map((s) => [
    [s.id, "name"],
    s.behind > 0 ? ["behind", "state wait"] : s.mailbox > 0 ? ["waiting", "state"] : ["live", "state good"],
    [whole.format(s.mailbox), "number"], [bytes(s.mailbox_bytes), "number"], [whole.format(s.channels), "number"], [ago(s.opened, at), "number faint"],
  ]), ["", "", "waiting", "", "channels", "for"]);
  $("sockets-empty").hidden = sockets.length > 0;
}

// What happens to clients and events without anything being wrong is not shown.
const ordinary = new Set(["closed client", "closed lost", "closed drain", "joins ok", "dropped closed"]);

function showLog({ log, counts }) {
  const chips = Object.entries(counts).flatMap(([what, reasons]) => Object.entries(reasons).map(([reason, n]) => [what, reason, n]))
    .filter(([what, reason]) => !ordinary.has(`${what} ${reason}`))
    .sort((a, b) => b[2] - a[2]);
  reconcile($("counts"), chips, () => element("li"), (li, [what, reason, n]) => setText(li, `${what}: ${reason} ${number(n)}`));
  reconcile($("log"), log, recordItem, (li, { at, level, message, detail }) => {
    li.className = level.toLowerCase();
    setText(li.parts.time, new Date(at).toLocaleTimeString("en-GB"));
    setText(li.parts.level, level === "INFO" ? "refusal" : level === "WARN" ? "warning" : "error");
    setText(li.parts.message, message);
    setText(li.parts.detail, detail);
  });
  $("log-empty").hidden = log.length > 0;
}

function recordItem() {
  const item = element("li");
  item.parts = { time: element("time"), level: element("span", "level"), message: element("b"), detail: element("span", "detail") };
  item.append(item.parts.time, " ", item.parts.level, " ", item.parts.message, " ", item.parts.detail);
  return item;
}

// ---- Nodes and presence ----------------------------------------------------

let others = new Map(); // what other nodes said of themselves, by name

function showNodes(o) {
  others.set(o.node, o);
  text("nodes-total", whole.format(o.nodes.length));
  fill("nodes", o.nodes.map(({ name, started, self }) => {
    const said = others.get(name);
    const state = !said ? ["not heard", "state wait"] : said.ready ? ["ready", "state good"] : ["not ready", "state bad"];
    if (said && o.leader?.node === name && !o.leader.shared) state[0] += ", leads";
    return [
      [self ? `${name} (this one)` : name, "name"], state,
      [said ? whole.format(said.sockets) : "–", "number"], [said ? number(said.lately?.pushed ?? 0) : "–", "number"],
      [said ? whole.format(Math.max(said.head - said.position, 0)) : "–", "number"], [ago(started, o.at), "number faint"],
    ];
  }), ["", "", "sockets", "messages/s", "lag", "up"]);
  text("presence-total", `${whole.format(o.presences)} known`);
}

// askNodes asks what the other nodes do, where there are any.
async function askNodes() {
  if (!latest || latest.nodes.length < 2) return;
  const { status, response } = await operator.channels.get(consoleTopic).push("nodes", {});
  if (status === "ok") others = new Map(response.nodes.map((each) => [each.node, each]));
}

const lookEvery = 5_000;
let asked = ""; // the topic of which presence is shown

async function showPresence() {
  if (!asked) return;
  const { count, members } = await ask(`/api/presence/${encodeURIComponent(asked)}`);
  const keys = Object.entries(members);
  reconcile($("presence"), keys.slice(0, 100), () => element("li"), (li, [key, { metas }]) =>
    setText(li, metas.length > 1 ? `${key} ×${metas.length}` : key));
  const shown = Math.min(keys.length, 100);
  text("presence-outcome", count === 0 ? `Nobody is told of on ${asked}. Its rule may have no presence.` :
    `${whole.format(count)} on ${asked}${shown < keys.length ? `, ${shown} of them:` : ":"}`);
}

$("presence-form").onsubmit = (e) => {
  e.preventDefault();
  asked = $("presence-topic").value.trim();
  $("presence").replaceChildren();
  showPresence().catch((error) => text("presence-outcome", error.message));
};

// What is asked and not told is asked again, as long as somebody looks.
const look = () => setTimeout(() => {
  const parts = document.hidden ? [] : [askNodes(), ...$("overview-view").hidden ? [lookAround()] : [showPresence(), showTables()]];
  Promise.allSettled(parts).finally(look);
}, lookEvery);
look();
