package sluice

import (
	"context"
	"errors"

	"github.com/sluicehq/sluice/store/postgres"
)

// Migrate creates or upgrades the tables of the store that config names, and
// returns once they are up to date. Several may do so at once.
func Migrate(ctx context.Context, config Config) error {
	var f faults
	config.validateDatabase(&f)
	if err := f.join(); err != nil {
		return err
	}
	if config.DatabaseURL != "" { // who migrates need not be able to serve
		return postgres.Migrate(ctx, config.DatabaseURL, config.logger())
	}
	log, err := openLogOnce(ctx, &config, config.logger(), nil)
	if err != nil {
		return err
	}
	return log.Close()
}

// Grant gives a role of the database that config names all rights that it needs to
// serve, though it owns nothing: call it after [Migrate], as the owner of the tables.
func Grant(ctx context.Context, config Config, role string) error {
	var f faults
	config.validateDatabase(&f)
	if err := f.join(); err != nil {
		return err
	}
	if config.DatabaseURL == "" {
		return errors.New("sluice: the embedded store has no roles to grant rights to: name a database by Config.DatabaseURL")
	}
	return postgres.Grant(ctx, config.DatabaseURL, role, config.logger())
}
