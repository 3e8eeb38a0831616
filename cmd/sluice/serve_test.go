package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// announced is the line of the log that says where the service is.
type announced struct {
	Message string `json:"msg"`
	Socket  string `json:"socket"`
	Console string `json:"console"`
}

// readLog reads the service's log up to the message. The rest has to be read
// too, or the service waits for it.
func readLog(t *testing.T, log *bufio.Scanner, message string) (line announced) {
	t.Helper()
	for log.Scan() {
		if json.Unmarshal(log.Bytes(), &line) == nil && line.Message == message {
			return line
		}
	}
	t.Fatalf("the log ends before %q", message)
	return line
}

func serveFlags(t *testing.T) []string {
	return []string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json", "--data-dir", t.TempDir()}
}

// What is published to a service is seen by who watches it.
func TestServe(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	stderr, logs := io.Pipe()
	p, _ := call{}.process(t, io.Discard, logs)
	exit := make(chan int, 1)
	go func() {
		exit <- p.run(ctx, serveFlags(t))
		logs.Close()
	}()
	log := bufio.NewScanner(stderr)
	at := readLog(t, log, "serving")
	rest := make(chan struct{})
	go func() {
		io.Copy(io.Discard, stderr)
		close(rest)
	}()
	env := map[string]string{"SLUICE_ADMIN_URL": at.Console, "SLUICE_URL": strings.TrimSuffix(at.Socket, "/websocket")}

	joined, watching := startWatch(t, env)
	<-joined
	if got := (call{args: []string{"publish", "demo", "greeted"}, env: env}).run(t); got.exit != exitOK {
		t.Errorf("publish: %+v", got)
	}
	if got := <-watching; got.exit != exitOK || got.stdout != "{\"topic\":\"demo\",\"event\":\"greeted\",\"offset\":1,\"payload\":{}}\n" {
		t.Errorf("watch: %+v", got)
	}

	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	page, err := client.Get(at.Console)
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	if body, err := io.ReadAll(page.Body); err != nil || !bytes.Contains(body, []byte("<title>Sluice console</title>")) {
		t.Errorf("the console is %.100q, %v", body, err)
	}

	stop()
	if got := <-exit; got != exitOK {
		t.Errorf("exit status %d after a clean stop", got)
	}
	<-rest
}

// What is suggested works as it stands: by TLS where that is spoken, with a token
// where one is wanted.
func TestAnnounce(t *testing.T) {
	t.Parallel()
	public := &net.TCPAddr{IP: net.IPv4zero, Port: 4000}
	admin := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4001}
	for _, test := range []struct {
		settings configFlags
		want     []string
	}{
		{configFlags{SocketPath: "/socket"}, []string{"socket=ws://127.0.0.1:4000/socket/websocket", `run="sluice watch demo"`}},
		{configFlags{SocketPath: "/live"}, []string{`run="sluice watch --url ws://127.0.0.1:4000/live demo"`}},
		{configFlags{SocketPath: "/socket", TLSCert: "c", TLSKey: "k"},
			[]string{"socket=wss://127.0.0.1:4000/socket/websocket", `run="sluice watch --url wss://NAME-IN-THE-CERTIFICATE:4000/socket demo"`}},
		{configFlags{SocketPath: "/socket", AdminTLSCert: "c", AdminTLSKey: "k"},
			[]string{"socket=ws://127.0.0.1:4000/socket/websocket", "console=https://127.0.0.1:4001", "open=https://127.0.0.1:4001"}},
		{configFlags{SocketPath: "/socket", JWTKeysFile: "f"}, []string{`run="sluice watch demo --token TOKEN"`}},
	} {
		var log bytes.Buffer
		serve := serveCmd{Settings: test.settings, Log: defaultLog()}
		serve.announce(slog.New(slog.NewTextHandler(&log, nil)), public, admin, true)
		for _, want := range test.want {
			if !strings.Contains(log.String(), want) {
				t.Errorf("want %s in\n%s", want, &log)
			}
		}
	}
}

// startWatch watches for one event; joined is closed once it would be seen.
func startWatch(t *testing.T, env map[string]string) (joined <-chan struct{}, done <-chan outcome) {
	stderr, notes := io.Pipe()
	var stdout bytes.Buffer
	watch := call{args: []string{"watch", "--count", "1", "demo"}, env: env}
	p, _ := watch.process(t, &stdout, notes)
	ready, ended := make(chan struct{}), make(chan outcome, 1)
	go func() {
		exit := p.run(t.Context(), watch.args)
		notes.Close()
		ended <- outcome{exit: exit, stdout: stdout.String()}
	}()
	go func() {
		for told := bufio.NewScanner(stderr); told.Scan(); {
			if strings.HasPrefix(told.Text(), "sluice: joined demo ") {
				close(ready)
			}
		}
	}()
	return ready, ended
}

// startServe runs the service as a process of its own, up to its first request.
func startServe(t *testing.T) (command *exec.Cmd, log *bufio.Scanner, at announced) {
	t.Helper()
	command = program(t, nil, serveFlags(t)...)
	stderr, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	log = bufio.NewScanner(stderr)
	return command, log, readLog(t, log, "serving")
}

func TestServeStopsBySignal(t *testing.T) {
	t.Parallel()
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			command, log, _ := startServe(t)
			readLog(t, log, "log open")
			if err := command.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			for log.Scan() { // until the process closes it
			}
			if err := command.Wait(); err != nil {
				t.Errorf("after %v: %v, want exit status 0", signal, err)
			}
		})
	}
}

// TestServeReloads has rules replaced by SIGHUP under a client that has joined,
// and bad files refused.
func TestServeReloads(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sluice.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("topics:\n- match: demo\n")
	command := program(t, nil, append(serveFlags(t), "--config", file)...)
	stderr, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	log := bufio.NewScanner(stderr)
	at := readLog(t, log, "serving")
	readLog(t, log, "log open")
	refused := func() bool {
		t.Helper()
		got := call{args: []string{"watch", "--count", "1", "--url", strings.TrimSuffix(at.Socket, "/websocket"), "demo"}}.run(t)
		return got.exit != exitOK && strings.Contains(got.stderr, "unauthorized")
	}
	const kept, reloaded = "not reloaded, all stays as it was", "reloaded"
	for _, step := range []struct {
		text string
		logs []string // all that is logged
	}{
		{"topics:\n- match: x*y\n", []string{kept}},
		{"topics:\n- match: [\n", []string{kept}},
		{"no-such-setting: 1\n", []string{kept}},
		{"max-demand: 7\ntopics:\n- match: other\n", []string{"settings that have changed count from the next start on", reloaded}},
		{"", []string{reloaded}},
		{"topics:\n", []string{reloaded}},
	} {
		write(step.text)
		if err := command.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		for _, line := range step.logs {
			readLog(t, log, line)
		}
	}
	if !refused() {
		t.Error("the last rules are not in force")
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for log.Scan() { // until the process closes it
	}
	if err := command.Wait(); err != nil {
		t.Error(err)
	}
}

// A request that doesn't end holds the drain up; who won't wait asks again.
func TestSecondSignalEndsTheProcess(t *testing.T) {
	t.Parallel()
	command, log, at := startServe(t)
	readLog(t, log, "log open")
	conn, err := net.Dial("tcp", strings.TrimPrefix(at.Console, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST /api/events HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
	if line, err := bufio.NewReader(conn).ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 100") {
		t.Fatalf("the request is not under way: %q, %v", line, err)
	}
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	readLog(t, log, "stopping")
	if err := command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for log.Scan() {
	}
	_ = command.Wait() // an error, since the status isn't 0
	if got := command.ProcessState.ExitCode(); got != exitAborted {
		t.Errorf("exit status %d, want %d", got, exitAborted)
	}
}

func TestAnnouncement(t *testing.T) {
	t.Parallel()
	everywhere := &net.TCPAddr{IP: net.IPv6unspecified, Port: 4000}
	loopback := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4001}
	for _, test := range []struct {
		name, format, path string
		terminal           bool
		public             net.Addr
		want, never        string
	}{
		{"text", "text", "/socket", false, &net.TCPAddr{IP: loopback.IP, Port: 4000}, `run="sluice watch demo"`, "--url"},
		{"on all interfaces", "text", "/socket", false, everywhere, `run="sluice watch demo"`, "::"},
		{"elsewhere", "text", "/live", false, loopback, `run="sluice watch --url ws://127.0.0.1:4001/live demo"`, "4000"},
		{"json for machines", "json", "/socket", false, loopback, `"console":"http://127.0.0.1:4001"`, "next"},
		{"json on a terminal", "json", "/socket", true, loopback, `"msg":"next: `, "run=\""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			command := defaults().Serve
			command.Settings.SocketPath, command.Log.LogFormat = test.path, test.format
			var log bytes.Buffer
			logger, err := command.Log.logger(&log)
			if err != nil {
				t.Fatal(err)
			}
			command.announce(logger, test.public, loopback, test.terminal)
			if got := log.String(); !strings.Contains(got, test.want) || strings.Contains(got, test.never) {
				t.Errorf("announced\n%swant %s and no %s", got, test.want, test.never)
			}
		})
	}
}

// TestServeStartsAtNoOffsetAboveTheHead is told what there is, once the store is open.
func TestServeStartsAtNoOffsetAboveTheHead(t *testing.T) {
	t.Parallel()
	got := call{args: append(serveFlags(t), "--start", "5")}.run(t)
	const want = `sluice: --start is "5": allowed is committed, head, earliest, or an offset up to the log's head, which is 0` + "\n"
	if got.exit != exitUsage || !strings.HasSuffix(got.stderr, want) {
		t.Errorf("exit %d, stderr:\n%s", got.exit, got.stderr)
	}
}

func TestMigrate(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for range 2 { // the second time there is nothing left to do
		got := call{args: []string{"migrate", "--data-dir", folder}}.run(t)
		if got.exit != exitOK || got.stdout != "the tables are up to date\n" {
			t.Errorf("migrate: %+v", got)
		}
	}
}
