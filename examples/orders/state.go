package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// prepare makes the table, and has its changes published: again until it has been done, as
// the service may not have made its own tables yet.
func prepare(ctx context.Context, pool *pgxpool.Pool) {
	for {
		_, err := pool.Exec(ctx, `CREATE TABLE IF NOT EXISTS orders (id int PRIMARY KEY, region text NOT NULL, state text NOT NULL);
			SELECT sluice_watch('orders', 'orders:{region}')
			WHERE NOT EXISTS (SELECT FROM sluice_watched WHERE to_regclass("table") = 'orders'::regclass)`)
		if err == nil || ctx.Err() != nil {
			return
		}
		log.Print(err, "; trying again")
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// handler serves the page, and the state that it begins with.
func handler(pool *pgxpool.Pool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(page))
	mux.HandleFunc("GET /orders", func(w http.ResponseWriter, r *http.Request) {
		now, err := read(r.Context(), pool, r.URL.Query().Get("region"))
		if err != nil {
			http.Error(w, "the orders cannot be read now", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(now) // an error means that the client has gone
	})
	return mux
}

// state is the rows of a region, and the position in the log that they belong to.
type state struct {
	Epoch  string  `json:"epoch"`
	Offset int64   `json:"offset"`
	Rows   []order `json:"rows"`
}

type order struct {
	ID     int    `json:"id"`
	Region string `json:"region"`
	State  string `json:"state"`
}

// read reads both in one snapshot: what is in the log up to that position is in the rows.
func read(ctx context.Context, pool *pgxpool.Pool, region string) (now state, err error) {
	snapshot := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, pool, snapshot, func(tx pgx.Tx) error {
		if err := tx.QueryRow(ctx, `SELECT epoch, "offset" FROM sluice_position()`).Scan(&now.Epoch, &now.Offset); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `SELECT id, region, state FROM orders WHERE region = $1 ORDER BY id`, region)
		if err != nil {
			return err
		}
		now.Rows, err = pgx.CollectRows(rows, pgx.RowToStructByPos[order])
		return err
	})
	return now, err
}
