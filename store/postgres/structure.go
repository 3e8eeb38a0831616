package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// errNoMeta says that the tables are there, and the row that describes them is not.
var errNoMeta = errors.New("sluice_meta is empty: run sluice migrate, which fills it where the other tables are empty too, as after a restore of the structure alone; else restore its row from a backup, or drop all sluice tables to begin anew")

const emptySQL = `SELECT NOT EXISTS (SELECT FROM sluice_outbox) AND NOT EXISTS (SELECT FROM sluice_log) AND NOT EXISTS (SELECT FROM sluice_rejected)
	AND NOT EXISTS (SELECT FROM sluice_epochs) AND NOT EXISTS (SELECT FROM sluice_cursors)`

// structureSQL reads the version that a structure without rows has: the default of
// its column, which version 5 and older did not set.
const structureSQL = `SELECT coalesce(
	(SELECT substring(pg_get_expr(adbin, adrelid) FROM '\d+') FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
		WHERE adrelid = 'sluice_meta'::regclass AND attname = 'version'),
	CASE WHEN to_regprocedure('sluice_sequence(integer, bigint, bigint)') IS NOT NULL THEN '5' END, '0')::integer`

const fillSQL = `INSERT INTO sluice_meta (version, part_end) SELECT $1, coalesce(max(past), 0) FROM sluice_partitions`

// fillMeta makes a log of tables that were restored without their rows, as by a
// framework that keeps a database's structure in a file.
func fillMeta(ctx context.Context, tx pgx.Tx) (version int, err error) {
	var empty bool
	if err := tx.QueryRow(ctx, emptySQL).Scan(&empty); err != nil {
		return 0, err
	}
	if !empty {
		return 0, errNoMeta
	}
	if err := tx.QueryRow(ctx, structureSQL).Scan(&version); err != nil {
		return 0, err
	}
	if version == 0 {
		return 0, errNoMeta
	}
	if _, err := tx.Exec(ctx, fillSQL, version); err != nil {
		return 0, err
	}
	_, err = tx.Exec(ctx, `INSERT INTO sluice_epochs (first, identity) VALUES (1, sluice_identity())`)
	return version, err
}

// noteVersion keeps the version in the structure too: see structureSQL.
func noteVersion(ctx context.Context, tx pgx.Tx, version int) error {
	for _, sql := range []string{
		`SET LOCAL lock_timeout = '500ms'`, // sluice_meta is read all the time
		fmt.Sprintf(`ALTER TABLE sluice_meta ALTER COLUMN version SET DEFAULT %d`, version),
	} {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
	}
	_, err := tx.Exec(ctx, `UPDATE sluice_meta SET version = $1`, version)
	return err
}
