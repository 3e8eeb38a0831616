package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sluicehq/sluice/internal/pgtest"
	"github.com/sluicehq/sluice/store"
	"github.com/sluicehq/sluice/store/postgres"
)

// TestStatementsSetTheirTransactionAlone has those that lock what all nodes need set how long
// that may take, and the note of who leads not wait for disks and standbys: for their own
// transaction, and nothing after it.
func TestStatementsSetTheirTransactionAlone(t *testing.T) {
	t.Parallel()
	conn := connect(t, pgtest.Schema(t))
	mustOpen(t, postgres.Config{DatabaseURL: conn.Config().ConnString()})
	mustExec(t, conn, `SET synchronous_commit = on; SET idle_in_transaction_session_timeout = 0`)
	var fence int64
	if err := conn.QueryRow(t.Context(), postgres.LeadSQL, "leader", "a", time.Hour).Scan(&fence); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		sql           string
		args          []any
		setting, want string
	}{
		{postgres.RevokeCountSQL, nil, "idle_in_transaction_session_timeout", "5s"},
		{postgres.EraseCountSQL, nil, "idle_in_transaction_session_timeout", "5s"},
		{postgres.KeepLeadSQL, []any{"leader", "a", fence, time.Hour}, "synchronous_commit", "off"},
	} {
		var before, inside, after string
		read := func(into *string) {
			if err := conn.QueryRow(t.Context(), `SELECT current_setting($1)`, test.setting).Scan(into); err != nil {
				t.Fatal(err)
			}
		}
		read(&before)
		err := pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			done, err := tx.Exec(t.Context(), test.sql, test.args...)
			if done.RowsAffected() != 1 {
				t.Errorf("%s has changed %d rows", test.sql, done.RowsAffected())
			}
			read(&inside)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if read(&after); inside != test.want || after != before || before == inside {
			t.Errorf("%s: %s is %s, then %s, then %s", test.sql, test.setting, before, inside, after)
		}
	}
}

// TestAProcessThatHangsWhileItRevokes has one stop after it has locked what all that revoke,
// and all that erase, need: they go on without it.
func TestAProcessThatHangsWhileItRevokes(t *testing.T) {
	t.Parallel()
	for name, sql := range map[string]string{"revokes": postgres.RevokeCountSQL, "erases": postgres.EraseCountSQL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := pgtest.Schema(t)
			log := mustOpen(t, postgres.Config{DatabaseURL: url})
			tx, err := connect(t, url).Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if _, err := log.Revoke(ctx, store.Revocation{Kind: store.ClaimSubject, Value: "7"}); err != nil {
				t.Errorf("after %s: %v", sql, err)
			}
			if _, _, _, err := log.Erase(ctx, store.Selection{Topic: "t"}); err != nil {
				t.Errorf("after %s: %v", sql, err)
			}
		})
	}
}
