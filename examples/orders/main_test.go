package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sluicehq/sluice"
	"github.com/sluicehq/sluice/internal/pgtest"
)

// What the test says to a process of itself that is to be the server.
const serveURL, serveName = "ORDERS_TEST_DATABASE_URL", "ORDERS_TEST_NODE"

func TestMain(m *testing.M) {
	if url := os.Getenv(serveURL); url != "" {
		if err := serveUntilEOF(url, os.Getenv(serveName)); err != nil {
			log.Fatal(err)
		}
		return
	}
	os.Exit(pgtest.Main(m))
}

// serveUntilEOF is the server, until standard input ends, or it is killed. It tells its addresses.
func serveUntilEOF(url, name string) error {
	ctx, stop := context.WithCancel(context.Background())
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); stop() }()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	config := sluice.DefaultConfig()
	config.DatabaseURL, config.Node = url, name
	config.Listen, config.AdminListen = "127.0.0.1:0", "127.0.0.1:0"
	config.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	config.OnListen = func(public, _ net.Addr) { fmt.Println(listener.Addr(), public) }
	return serve(ctx, listener, config)
}

// The kills of a run: one of each kind, or as many as ORDERS_KILLS says.
const kills = 4

// writers and what each of them writes between two kills.
const writers, writes = 8, 25

// TestPageEqualsTable kills the server, the database, the page and its connection while the
// table is written: the page equals the table each time that the writers rest, and shows no row
// before that the table never had. Each time other rows are written, so that what is missed
// stays so. ORDERS_KILLS has it kill more often.
func TestPageEqualsTable(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	database := pgtest.NewServer(t)
	db, err := pgxpool.New(ctx, database.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(ctx, `CREATE TABLE orders (id int PRIMARY KEY, region text NOT NULL, state text NOT NULL);
		CREATE TABLE had (id int, region text, state text);
		CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO had VALUES (NEW.id, NEW.region, NEW.state); RETURN NULL; END $$;
		CREATE TRIGGER note AFTER INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION note()`); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, url: database.URL(), app: newDoor(t), socket: newDoor(t), shown: map[order]bool{}}
	w.startServer()
	w.startPage()

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	mend := func() {}
	strike := []func(){
		func() { mend = w.socket.cut() },
		func() { w.server.kill(); w.startServer() },
		func() { database.Kill(t); database.Start(t) },
		func() { w.page.kill(); w.startPage() },
	}
	random.Shuffle(len(strike), func(i, j int) { strike[i], strike[j] = strike[j], strike[i] })
	rounds := kills
	if more := os.Getenv("ORDERS_KILLS"); more != "" {
		if rounds, err = strconv.Atoi(more); err != nil {
			t.Fatalf("ORDERS_KILLS: %v", err)
		}
	}
	var done atomic.Int64
	for round := range rounds {
		var writing sync.WaitGroup
		for n := range writers {
			source := rand.New(rand.NewPCG(seed, uint64(1+round*writers+n)))
			writing.Go(func() { write(ctx, db, source, 30*round, fmt.Sprintf("%d.%d", round, n), &done) })
		}
		moment := int64(round*writers*writes + random.IntN(writers*writes*3/4))
		for done.Load() < moment && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		strike[round%len(strike)]()
		writing.Wait()
		mend()
		mend = func() {}
		if ctx.Err() != nil {
			t.Fatal("the writers have not come to their end")
		}
		w.awaitEqual(ctx, tableOf(ctx, t, db))
	}
	w.server.kill()
	w.page.kill()

	had := map[order]bool{}
	rows, _ := db.Query(ctx, `SELECT DISTINCT id, region, state FROM had`)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[order])
	if err != nil {
		t.Fatal(err)
	}
	for _, each := range list {
		had[each] = true
	}
	for each := range w.shown {
		if !had[each] || each.Region != "eu" {
			t.Errorf("the page has shown %+v, which the table never had", each)
		}
	}
	t.Logf("%d writes, %d kills, %d states shown", done.Load(), rounds, len(w.shown))
}

// write does what writers do to rows of the table from an id on: what fails is done again.
func write(ctx context.Context, db *pgxpool.Pool, random *rand.Rand, first int, name string, done *atomic.Int64) {
	for n := range writes {
		id, region := first+random.IntN(30), []string{"eu", "eu", "us"}[random.IntN(3)]
		state := fmt.Sprintf("%s.%d", name, n)
		sql := []string{
			`INSERT INTO orders VALUES ($1, $2, $3) ON CONFLICT (id) DO UPDATE SET region = $2, state = $3`,
			`UPDATE orders SET state = $3 WHERE id = $1 AND $2 <> ''`,
			`UPDATE orders SET region = $2, state = $3 WHERE id BETWEEN $1 AND $1 + 2`,
			`DELETE FROM orders WHERE id = $1 AND $2 <> '' AND $3 <> ''`,
		}[random.IntN(4)]
		gone := random.IntN(5) == 0 // rolled back
		for ctx.Err() == nil {
			err := pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, sql, id, region, state); err != nil {
					return err
				}
				if gone {
					return tx.Rollback(ctx)
				}
				return nil
			})
			if err == nil || gone {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		done.Add(1)
	}
}

// tableOf is what the page is to show in the end.
func tableOf(ctx context.Context, t *testing.T, db *pgxpool.Pool) map[int]order {
	t.Helper()
	table := map[int]order{}
	rows, _ := db.Query(ctx, `SELECT id, region, state FROM orders WHERE region = 'eu'`)
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[order])
	if err != nil {
		t.Fatal(err)
	}
	for _, each := range list {
		table[each.ID] = each
	}
	return table
}

// world is what there is beside the database.
type world struct {
	t            *testing.T
	url          string
	app, socket  *door
	server, page *process
	starts       int
	view         map[int]order  // what the page shows
	shown        map[order]bool // whatever it has shown
}

// startServer starts the server, as a process that can be killed.
func (w *world) startServer() {
	w.t.Helper()
	w.starts++
	w.server = start(w.t, exec.Command(os.Args[0]), serveURL+"="+w.url, fmt.Sprintf("%s=orders-%d", serveName, w.starts))
	app, socket, found := strings.Cut(w.server.next(w.t), " ")
	if !found {
		w.t.Fatalf("the server says %q", app)
	}
	w.app.to.Store(&app)
	w.socket.to.Store(&socket)
}

// startPage starts the page, in Node.
func (w *world) startPage() {
	w.t.Helper()
	modules, err := filepath.Abs("../../cmd/sluice/e2e/node/node_modules")
	if err != nil {
		w.t.Fatal(err)
	}
	w.view = map[int]order{}
	w.page = start(w.t, exec.Command("node", "testdata/page.mjs", modules, "http://"+w.app.address(), "ws://"+w.socket.address()+"/socket"))
	w.take(w.page.next(w.t))
}

// take takes a line that the page reports.
func (w *world) take(line string) {
	w.t.Helper()
	var said struct {
		All []order
		ID  int
		Row *order
	}
	if err := json.Unmarshal([]byte(line), &said); err != nil {
		w.t.Fatalf("the page says %q: %v", line, err)
	}
	switch {
	case said.All != nil:
		w.view = map[int]order{}
		for _, each := range said.All {
			w.view[each.ID] = each
			w.shown[each] = true
		}
	case said.Row != nil:
		w.view[said.ID] = *said.Row
		w.shown[*said.Row] = true
	default:
		delete(w.view, said.ID)
	}
}

// awaitEqual waits until the page shows the table.
func (w *world) awaitEqual(ctx context.Context, table map[int]order) {
	w.t.Helper()
	for !maps.Equal(w.view, table) {
		select {
		case line, ok := <-w.page.lines:
			if !ok {
				w.t.Fatal("the page has ended")
			}
			w.take(line)
		case <-ctx.Done():
			w.t.Fatalf("the page shows %v, the table has %v", w.view, table)
		}
	}
}

// process is one that reports lines, and ends with its standard input at the latest.
type process struct {
	command *exec.Cmd
	lines   chan string // sent by the reader, which closes it
}

func start(t *testing.T, command *exec.Cmd, env ...string) *process {
	t.Helper()
	command.Env = append(os.Environ(), env...)
	command.Stderr = t.Output()
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{command, make(chan string, 1<<16)}
	go func() {
		defer close(p.lines)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			p.lines <- scanner.Text()
		}
	}()
	t.Cleanup(func() { p.kill(); stdin.Close() })
	return p
}

// next waits for the next line.
func (p *process) next(t *testing.T) string {
	t.Helper()
	line, ok := <-p.lines
	if !ok {
		t.Fatalf("%v has ended", p.command.Args)
	}
	return line
}

// kill ends the process at once, and waits for it.
func (p *process) kill() {
	if p.command.ProcessState != nil {
		return
	}
	_ = p.command.Process.Kill()
	for range p.lines { // until the reader has ended
	}
	_ = p.command.Wait()
}

// door passes connections on to a server that may be another each time.
type door struct {
	net.Listener
	to atomic.Pointer[string]

	mu   sync.Mutex
	open map[net.Conn]bool // guarded by mu
}

// cut closes the connections, and lets no other pass until the function is called that it
// returns.
func (d *door) cut() (mend func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	to := d.to.Swap(nil)
	for conn := range d.open {
		conn.Close()
	}
	return func() { d.to.Store(to) }
}

// enter notes a connection, and where it goes; nowhere while there is a cut.
func (d *door) enter(conn net.Conn) (to *string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open[conn] = true
	return d.to.Load()
}

func (d *door) leave(conn net.Conn) {
	conn.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, conn)
}

func newDoor(t *testing.T) *door {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{Listener: listener, open: map[net.Conn]bool{}}
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			in, err := d.Accept()
			if err != nil {
				return
			}
			passing.Go(func() { d.pass(in) })
		}
	})
	t.Cleanup(func() { d.Close(); passing.Wait() })
	return d
}

func (d *door) address() string { return d.Addr().String() }

// pass copies both ways until one side ends.
func (d *door) pass(in net.Conn) {
	defer d.leave(in)
	to := d.enter(in)
	if to == nil {
		return
	}
	out, err := net.Dial("tcp", *to)
	if err != nil {
		return
	}
	defer out.Close()
	var both sync.WaitGroup
	copying := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		to.Close()
		from.Close()
	}
	both.Go(func() { copying(in, out) })
	copying(out, in)
	both.Wait()
}
