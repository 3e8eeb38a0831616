// Orders shows the rows of a table on a page, and every change of them as it is
// committed, whoever makes it: the state is read with its position, and the stream goes on
// from there.
//
//	createdb orders
//	DATABASE_URL=postgres://localhost/orders go run ./examples/orders
package main

import (
	"context"
	"embed"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicehq/sluice"
)

const try = `Open http://127.0.0.1:8080/, and in psql:
  INSERT INTO orders VALUES (7, 'eu', 'paid');
  UPDATE orders SET state = 'shipped' WHERE id = 7;`

//go:embed page.html page.mjs
var page embed.FS

func main() {
	log.Print(try)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	listener, err := net.Listen("tcp", "127.0.0.1:8080")
	if err == nil {
		err = serve(ctx, listener, sluice.Config{DatabaseURL: os.Getenv("DATABASE_URL")})
	}
	if err != nil {
		log.Fatal(err)
	}
}

// serve runs the service, and beside it the application's own server.
func serve(ctx context.Context, listener net.Listener, config sluice.Config) error {
	pool, err := pgxpool.New(ctx, config.DatabaseURL)
	if err != nil {
		return err
	}
	defer pool.Close()
	service, err := sluice.New(config)
	if err != nil {
		return err
	}
	application := &http.Server{Handler: handler(pool), ReadHeaderTimeout: 5 * time.Second}
	var beside sync.WaitGroup
	defer beside.Wait()
	ctx, stop := context.WithCancel(ctx)
	beside.Go(func() {
		prepare(ctx, pool) // nobody is given a state whose changes are not published
		if err := application.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Print(err)
		}
	})
	defer application.Close()
	defer stop()
	return service.Run(ctx)
}
