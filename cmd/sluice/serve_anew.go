package main

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"time"

	"github.com/sluicehq/sluice"
)

// anewPause is how long a service that could not be started anew is let be.
const anewPause = time.Second

// startAnew is what --start means to the next epoch: an offset says nothing of that, in
// which the node goes on where its cursor says.
func startAnew(start string) string {
	if _, err := strconv.ParseInt(start, 10, 64); err == nil {
		return "committed"
	}
	return start
}

// serveOn runs services, one after the other for as long as the log begins new
// epochs. What ends the first one is for whoever started it. A later one follows a
// service that ran with just these settings: what it lacks, such as a right that is
// taken away at this moment, may come back, so it is tried again, as often as it
// takes. One whose name another has taken has no business here any more.
func serveOn(ctx context.Context, logger *slog.Logger, run, next func() error) error {
	for anew := false; ; anew = true {
		err := run()
		switch {
		case errors.Is(err, sluice.ErrNewEpoch):
			if ctx.Err() != nil { // it is to end anyway, and has
				return nil
			}
			logger.Warn("starting anew", "error", err)
		case !anew || err == nil || ctx.Err() != nil || errors.Is(err, sluice.ErrNodeTaken):
			return err
		default:
			logger.Error("cannot start anew, trying again", "error", err, "wait", anewPause)
			pause := time.NewTimer(anewPause)
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
				return nil
			}
		}
		if err := next(); err != nil {
			return err
		}
	}
}
