package postgres

import (
	"fmt"
	"strings"
)

// right is what a role needs of one object. docs/grants.md shows all of them.
type right struct {
	kind       string // as GRANT names it
	object     string // in the schema of the tables, a function with its types; none: the schema
	privileges string // as GRANT lists them, with the columns that it is about
}

// serving is all that a role needs to serve. What takes an owner is done by functions
// that run as the owner. A row is locked by who may change a column of it.
var serving = []right{
	{"SCHEMA", "", "USAGE"},
	{"TABLE", "sluice_outbox", "SELECT, INSERT, UPDATE (id), DELETE"},
	{"SEQUENCE", "sluice_outbox_id_seq", "SELECT"},
	{"TABLE", "sluice_log", "SELECT, INSERT, UPDATE (payload), DELETE"},
	{"TABLE", "sluice_partitions", "SELECT"},
	{"TABLE", "sluice_trimmed", "SELECT"},
	{"TABLE", "sluice_meta", "SELECT, UPDATE (trimmed, removed, erased, max_payload, revoked)"},
	{"TABLE", "sluice_epochs", "SELECT, INSERT, DELETE"},
	{"TABLE", "sluice_marks", "SELECT, INSERT, DELETE"},
	{"TABLE", "sluice_cursors", "SELECT, INSERT, UPDATE, DELETE"},
	{"TABLE", "sluice_leases", "SELECT, INSERT, UPDATE"},
	{"TABLE", "sluice_rejected", "SELECT, INSERT, UPDATE (payload)"},
	{"TABLE", "sluice_erasures", "SELECT, INSERT, DELETE"},
	{"TABLE", "sluice_revocations", "SELECT, INSERT, UPDATE, DELETE"},
	{"TABLE", "sluice_requests", "SELECT, INSERT, UPDATE, DELETE"},
	{"TABLE", "sluice_watched", "SELECT"},
	{"FUNCTION", "sluice_extend_log()", "EXECUTE"},
	{"FUNCTION", "sluice_remove_partition()", "EXECUTE"},
	{"FUNCTION", "sluice_order_ids()", "EXECUTE"},
	{"FUNCTION", "sluice_sequence(integer, bigint, bigint, bigint, boolean, boolean)", "EXECUTE"},
	{"FUNCTION", "sluice_pick(integer, bigint, bigint, bigint)", "EXECUTE"},
	{"FUNCTION", "sluice_exceeds(json, bigint)", "EXECUTE"},
	{"FUNCTION", "sluice_set_aside(bigint[], bigint)", "EXECUTE"},
	{"FUNCTION", "sluice_reject(integer, bigint, bigint)", "EXECUTE"},
	{"FUNCTION", "sluice_refusal(bigint, text, text, json, text, timestamp with time zone)", "EXECUTE"},
	{"FUNCTION", "sluice_writers()", "EXECUTE"},
	{"FUNCTION", "sluice_identity()", "EXECUTE"},
	{"FUNCTION", "sluice_begin_epoch()", "EXECUTE"},
	{"FUNCTION", "sluice_mend_log(bigint)", "EXECUTE"},
	{"FUNCTION", "sluice_note_removed(bigint)", "EXECUTE"},
	{"FUNCTION", "sluice_trim(interval)", "EXECUTE"},
	{"FUNCTION", "sluice_replay(text, bigint, bigint, integer, text)", "EXECUTE"},
	{"FUNCTION", "sluice_tail(text, bigint, integer, text)", "EXECUTE"},
	{"FUNCTION", "sluice_watches(regclass)", "EXECUTE"},
}

// migrating is what a role needs beside owning the tables, or before there are any.
var migrating = []right{
	{"SCHEMA", "", "USAGE, CREATE"},
}

// inserting is what an application needs that writes events.
var inserting = []right{
	{"SCHEMA", "", "USAGE"},
	{"TABLE", "sluice_outbox", "INSERT"},
	{"FUNCTION", "sluice_publish(text, text, text, text)", "EXECUTE"},
	{"FUNCTION", "sluice_publish(text, text, json, text)", "EXECUTE"},
	{"FUNCTION", "sluice_publish(text, text, jsonb, text)", "EXECUTE"},
	{"FUNCTION", "sluice_position()", "EXECUTE"},
}

// watching is what the owner of a table needs to have its changes published, as the
// triggers do that with the owner's rights.
var watching = []right{
	{"SCHEMA", "", "USAGE"},
	{"TABLE", "sluice_outbox", "INSERT"},
	{"TABLE", "sluice_watched", "SELECT"},
	{"FUNCTION", "sluice_watch(regclass, text, text[], text, text[])", "EXECUTE"},
	{"FUNCTION", "sluice_check_watchable(regclass, regclass)", "EXECUTE"},
	{"FUNCTION", "sluice_template(text)", "EXECUTE"},
	{"FUNCTION", "sluice_make_watch(regclass, regclass, text, text[], text[], text, text[], text[])", "EXECUTE"},
	{"FUNCTION", "sluice_is_topic(text)", "EXECUTE"},
	{"FUNCTION", "sluice_max_payload()", "EXECUTE"},
	{"FUNCTION", "sluice_unwatch(regclass)", "EXECUTE"},
	{"FUNCTION", "sluice_watches(regclass)", "EXECUTE"},
}

// reading is what a role needs that reads the log, and watches how it gets on.
var reading = []right{
	{"SCHEMA", "", "USAGE"},
	{"TABLE", "sluice_outbox", "SELECT"},
	{"TABLE", "sluice_log", "SELECT"},
	{"TABLE", "sluice_partitions", "SELECT"},
	{"TABLE", "sluice_meta", "SELECT"},
	{"TABLE", "sluice_epochs", "SELECT"},
	{"TABLE", "sluice_cursors", "SELECT"},
	{"TABLE", "sluice_leases", "SELECT"},
	{"TABLE", "sluice_revocations", "SELECT"},
	{"TABLE", "sluice_rejected", "SELECT"},
	{"TABLE", "sluice_watched", "SELECT"},
	{"FUNCTION", "sluice_watches(regclass)", "EXECUTE"},
	{"FUNCTION", "sluice_position()", "EXECUTE"},
}

// grant is the SQL that gives a right. The names are as SQL writes them.
func (r right) grant(schema, role string) string {
	on := r.kind + " " + schema
	switch {
	case r.kind == "TABLE": // the word may be left out
		on = schema + "." + r.object
	case r.object != "":
		on += "." + r.object
	}
	return fmt.Sprintf("GRANT %s ON %s TO %s", r.privileges, on, role)
}

// privilege is one of a right, on one column or on all of the object.
type privilege struct{ name, column string }

func (p privilege) String() string {
	if p.column == "" {
		return p.name
	}
	return p.name + " (" + p.column + ")"
}

// split lists what a right consists of.
func (r right) split() (list []privilege) {
	for rest := r.privileges; rest != ""; {
		name, after, _ := strings.Cut(rest, ", ")
		if strings.Contains(name, "(") { // a list of columns, which has commas of its own
			var columns string
			name, columns, _ = strings.Cut(rest, " (")
			columns, after, _ = strings.Cut(columns, ")")
			for column := range strings.SplitSeq(columns, ", ") {
				list = append(list, privilege{name, column})
			}
			after = strings.TrimPrefix(after, ", ")
		} else {
			list = append(list, privilege{name: name})
		}
		rest = after
	}
	return list
}
