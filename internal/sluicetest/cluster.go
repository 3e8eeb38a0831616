package sluicetest

import (
	"context"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/cluster"
)

// WithBus is [WithService] for a node of a cluster, such as that of a clustertest.Net:
// several of them, each with its own bus of one network, are a cluster. They share a log
// if their Config has the same DatabaseURL.
func WithBus(bus cluster.Bus, change func(*Config), setUp func(*Service) error) func(context.Context, Config) error {
	return func(ctx context.Context, config Config) error {
		config.Node = bus.Self().Name
		change(&config)
		service, err := cluster.NewService.(func(sluice.Config, cluster.Bus) (*sluice.Service, error))(config, bus)
		if err != nil {
			return err
		}
		if err := setUp(service); err != nil {
			return err
		}
		return service.Run(ctx)
	}
}
