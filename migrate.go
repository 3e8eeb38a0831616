package sluice

import "context"

// Migrate creates or upgrades the tables of the store that config names, and
// returns once they are up to date. Several may do so at once.
func Migrate(ctx context.Context, config Config) error {
	if err := config.validateDatabase(); err != nil {
		return err
	}
	config.Migrate = true
	log, err := openLogOnce(ctx, &config, config.logger(), nil)
	if err != nil {
		return err
	}
	return log.Close()
}
