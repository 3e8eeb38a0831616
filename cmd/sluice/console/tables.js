"use strict";

// The application's tables whose changes are published, and those of one of them as they come.

const maxChanges = 100;
let followed = null; // the table whose changes are shown: { table, topic, after, epoch }

async function showTables() {
  const { tables } = await ask("/api/watched");
  $("tables-view").hidden = tables.length === 0;
  if (tables.length === 0) return;
  text("tables-total", whole.format(tables.length));
  reconcile($("tables"), tables, tableRow, (tr, { table, topic, events, unpublished, broken }) => {
    const { follow, name, template, kinds, lost, state } = tr.parts;
    const is = followed?.table === table && followed.topic === topic;
    setText(follow, is ? "Stop" : "Follow");
    follow.setAttribute("aria-label", `${is ? "Stop following" : "Follow"} ${table}`);
    follow.setAttribute("aria-pressed", is);
    follow.disabled = table === "";
    follow.onclick = () => { followTable(is ? null : { table, topic, after: latest.head, epoch: "" }); showTables().catch(() => {}); };
    setText(name, table || "dropped");
    setText(template, topic);
    setText(kinds, events.join(", "));
    setText(lost, unpublished === undefined ? "–" : whole.format(unpublished));
    setText(state, broken.length > 0 ? broken.join("; ") : "published");
    state.className = broken.length > 0 ? "state bad wrap" : "state good";
  });
}

function tableRow() {
  const tr = element("tr");
  const parts = { name: element("td", "name"), template: element("td", "wrap"), kinds: element("td", "wrap faint"), lost: element("td", "number"), state: element("td"), at: element("td") };
  parts.lost.dataset.label = "unpublished";
  parts.follow = element("button", "quiet");
  parts.follow.type = "button";
  parts.at.append(parts.follow);
  tr.append(parts.name, parts.template, parts.kinds, parts.lost, parts.state, parts.at);
  tr.parts = parts;
  return tr;
}

// ---- Changes ---------------------------------------------------------------

function followTable(what) {
  followed = what;
  $("changes").replaceChildren();
  $("changes-empty").hidden = false;
  text("changes-of", what ? `of ${what.table}, from now on` : "");
  text("changes-empty", what ? "Nothing has changed yet." : "Follow a table to see what changes in it.");
}

// selectionOf is what GET /api/log takes for the topics of a template: up to its first column
// they are the same. A brace that is meant stands twice.
function selectionOf(template) {
  let prefix = "";
  for (let i = 0; i < template.length; i++) {
    if (template[i] === "{" || template[i] === "}") {
      if (template[i + 1] !== template[i]) return prefix + "*";
      i++;
    }
    prefix += template[i];
  }
  return prefix;
}

// plain is a name as the catalog has it, of one as SQL writes it.
const plain = (name) => name.replace(/"((?:[^"]|"")*)"/g, (_, inner) => inner.replaceAll('""', '"'));

// readChanges shows what has come since it was last called, up to what one look at the log has.
async function readChanges() {
  const reader = followed;
  if (!reader) return;
  const query = new URLSearchParams({ topic: selectionOf(reader.topic), after: reader.after, limit: 200 });
  if (reader.epoch) query.set("epoch", reader.epoch);
  let answer;
  try {
    answer = await ask(`/api/log?${query}`);
  } catch (error) {
    if (error.status !== 410) throw error;
    text("changes-of", `of ${reader.table}; some were not kept`);
    Object.assign(reader, { after: latest.head, epoch: "" });
    return;
  }
  if (reader !== followed) return; // another table, meanwhile
  Object.assign(reader, { after: answer.through, epoch: answer.epoch });
  const table = plain(reader.table);
  const changes = answer.events.filter(({ payload: p }) => p && `${p.schema}.${p.table}` === table);
  if (changes.length === 0) return;
  $("changes").prepend(...changes.map(changeRow).reverse());
  while ($("changes").rows.length > maxChanges) $("changes").deleteRow(-1);
  $("changes-empty").hidden = true;
}

function changeRow({ payload, topic, key }) {
  const row = element("tr", "new");
  const record = payload.record ?? payload.old_record ?? {};
  row.append(
    element("td", "", new Date(payload.commit_timestamp).toLocaleTimeString("en-GB")),
    element("td", "event", payload.type),
    element("td", "wrap", key ?? "–"),
    element("td", "wrap faint", topic),
    element("td", "wrap", payload.type === "TRUNCATE" ? "all rows" : JSON.stringify(record) + (payload.too_large ? " (too large: its key)" : "")),
  );
  return row;
}

// follow reads again and again, while somebody looks.
const follow = () => setTimeout(() => {
  (document.hidden || $("overview-view").hidden ? Promise.resolve() : readChanges()).catch(() => {}).finally(follow);
}, 1_000);
follow();
