package store

// Watched is a table of the application's own whose changes are published, as
// sluice_watch was asked for it.
type Watched struct {
	Table       string   // with its schema, as SQL writes it; empty: it was dropped
	Topic       string   // a template, with columns in braces
	Columns     []string // that are published; nil: all
	Key         string   // a column or a template; empty: the primary key
	Events      []string // of insert, update, delete and truncate
	Unpublished *int64   // changes that had no topic; nil: this process may not see how many
	Broken      []string // what is no longer as it was, with what to do
}
