package sqlite

import (
	"context"

	"github.com/sluicehq/sluice/store"
)

// Watched implements [store.Log]: the tables of an application are not in this store's file.
func (l *Log) Watched(context.Context) ([]store.Watched, error) { return nil, nil }
