package e2e

import (
	"context"
	"net/url"
	"testing"

	"github.com/jackc/pgx/v5"
)

// database opens a connection as an application would, for the test's life.
func database(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	db, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	t.Cleanup(func() { db.Close(context.Background()) })
	return db
}

// insert writes events in one transaction of the application's own.
func insert(t testing.TB, db *pgx.Conn, topic string, payloads ...string) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), db, func(tx pgx.Tx) error {
		for _, payload := range payloads {
			if _, err := tx.Exec(t.Context(), `INSERT INTO sluice_outbox (topic, event, payload) VALUES ($1, 'created', $2)`, topic, payload); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("insert into %s: %v", topic, err)
	}
}

// through is a database's URL by way of a relay.
func through(t testing.TB, door *relay, direct string) string {
	t.Helper()
	u, err := url.Parse(direct)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = door.address
	return u.String()
}
