package postgres

import (
	"context"
	"io/fs"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/store"
)

// In tests the watermark rises whenever it may, and nothing that it passes over by
// mistake is found again. No page grows old by itself, and stalls and holes are seen soon. No session
// is given up, by either side, because the machine has much else to do: see GiveSilence.
func init() {
	const patience = 15 * time.Minute
	watchPause, sweepPause, maxHandoffAge = 0, time.Hour, time.Hour
	maxQuiet, maxStall = 20*time.Millisecond, 200*time.Millisecond
	mendPause, restPause = 100*time.Millisecond, 0
	maxSilence, roundGrace, dialTimeout = patience, patience, patience
}

// GiveSilence has the server end the log's sessions that do nothing for so long, or take
// nothing of what it sends. A machine that is busy may keep any session from doing
// something for as long. Call it before Run.
func (l *Log) GiveSilence(d time.Duration) { l.silence = d }

// Waited tells whether somebody has waited since the head has last moved, so that a round
// which moves little brings it along.
func (l *Log) Waited() bool { return l.head.Waited() }

// GiveRounds has the log's rounds take so long, at most, before they are made
// smaller, and so much longer before their session is given up. Call it before Run.
func (l *Log) GiveRounds(timeout, grace time.Duration) {
	l.budget.timeout, l.budget.usual, l.budget.grace = timeout, timeout, grace
}

// HasHandoff tells whether a round has brought events that nobody has read.
func (l *Log) HasHandoff() bool { return l.handoff.Load() != nil }

// OfferHandoff has a round bring so many events, from an offset on, some time ago.
func (l *Log) OfferHandoff(epoch string, from, events int64, age time.Duration) {
	p := handoffPage{epoch: epoch, read: time.Now().Add(-age)}
	for i := range events {
		p.events = append(p.events, store.Event{Offset: from + i})
	}
	l.keepHandoff(&p)
}

// TakeHandoff is what Fetch tries first.
func (l *Log) TakeHandoff(after int64, limit store.Limit) []store.Event {
	return l.takeHandoff(after, limit)
}

// Setting is what a setting is in a session of readers and writers.
func (l *Log) Setting(ctx context.Context, name string) (value string, err error) {
	err = l.pool.QueryRow(ctx, `SELECT current_setting($1)`, name).Scan(&value)
	return value, err
}

// Statements that set something for the transaction that they are in.
var (
	RevokeCountSQL, EraseCountSQL = revokeCountSQL, eraseCountSQL
	LeadSQL, KeepLeadSQL          = leadSQL, keepLeadSQL
)

// MigrateTo makes the tables of an older version.
func MigrateTo(ctx context.Context, databaseURL string, version int) error {
	server, err := newServer(Config{DatabaseURL: databaseURL})
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, server.pool.ConnConfig)
	if err != nil {
		return err
	}
	defer disconnect(conn)
	names, err := fs.Glob(migrations, "migrations/*.sql")
	if err == nil {
		server.schema, err = server.findSchema(ctx, conn, slog.New(slog.DiscardHandler))
	}
	if err == nil {
		err = server.enterSchema(ctx, conn)
	}
	for range version {
		if err == nil {
			_, err = server.applyNext(ctx, conn, names[:version])
		}
	}
	return err
}

// ServingRights are the statements that give all that serving needs, each of them
// one privilege.
func ServingRights(schema, role string) (grants []string) {
	for _, r := range serving {
		for _, p := range r.split() {
			grants = append(grants, right{r.kind, r.object, p.String()}.grant(schema, role))
		}
	}
	return grants
}

// Grants are the statements of docs/grants.md, by who they are for.
func Grants(schema string) map[string][]string {
	all := map[string][]string{}
	for role, rights := range map[string][]right{"sluice_server": serving, "sluice_owner": migrating, "sluice_writer": inserting, "sluice_watcher": watching, "sluice_reader": reading} {
		for _, r := range rights {
			all[role] = append(all[role], r.grant(schema, role)+";")
		}
	}
	return all
}

// Definers are the functions that run as the owner, in SQL.
const Definers = definers

// VetNow has the log look at rights when it is next asked how it does.
func (l *Log) VetNow() {
	l.vetting.mu.Lock()
	defer l.vetting.mu.Unlock()
	l.vetting.next = time.Time{}
}

// UsualRest is how seldom logs look, outside of these tests, while wake-ups come.
const UsualRest = usualRest

// Rest has the log look so seldom while wake-ups come. Call it before Run.
func (l *Log) Rest(d time.Duration) { l.rest = d }

// AtRest tells whether it does.
func (l *Log) AtRest() bool { return l.wakeUps.atRest() }

// WakeUpsProven tells whether it may.
func (l *Log) WakeUpsProven() bool { return l.wakeUps.proven(time.Now()) }
