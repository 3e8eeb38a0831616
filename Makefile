# make run    builds Sluice and runs it
# make test   installs what the tests need, then runs every check there is

GO          ?= go
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
NODE        := cmd/sluice/e2e/node/node_modules/.package-lock.json
NODE_CLIENT := socket/client/js/node_modules/.package-lock.json

PEERS       := benchmarks/peers
SCHEMA      := deploy/kubernetes/schema

# The race detector watches our code and that of the libraries, but not the C of SQLite,
# which is translated to Go: its memory is its own, and it takes ten times as long watched.
RACE        := -race '-gcflags=modernc.org/sqlite/lib=-race=false'

.PHONY: run build test needs programs lint bench bench-guard peers screenshot release verify-release clean

run: build
	@exec bin/sluice serve

build:
	$(GO) build -o bin/sluice ./cmd/sluice

# A program that the race detector watches sleeps a second before it ends, unless it is told
# not to; the end-to-end tests end hundreds.
test: export GORACE ?= atexit_sleep_ms=0
test: needs lint # which has vetted all packages, with more checks than go test does
	$(GO) test $(RACE) -vet=off -p 2 -timeout 60m ./...
	cd $(PEERS) && $(GO) test $(RACE) -vet=off -timeout 60m ./...
	cd $(SCHEMA) && $(GO) test ./...

# PostgreSQL, Chromium, nginx, HAProxy and the npm packages that the end-to-end tests and those of the JavaScript client drive.
needs: programs $(NODE) $(NODE_CLIENT)

programs:
	@.ci/needs

$(NODE): cmd/sluice/e2e/node/package.json cmd/sluice/e2e/node/package-lock.json | programs
	npm ci --prefix cmd/sluice/e2e/node
	@touch $@

$(NODE_CLIENT): socket/client/js/package.json socket/client/js/package-lock.json | programs
	npm ci --prefix socket/client/js
	@touch $@

lint:
	@unformatted=$$(gofmt -l .) && test -z "$$unformatted" || { echo "not gofmt'ed:" $$unformatted; exit 1; }
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	cd $(PEERS) && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
	@.ci/vulns $(GO) $(GOVULNCHECK)
	@cd $(PEERS) && ../../.ci/vulns $(GO) $(GOVULNCHECK)

# What an event costs from INSERT to a client, without the race detector.
bench: needs
	$(GO) test -run '^$$' -bench . -benchtime 10s ./cmd/sluice/e2e

# Whether something has become slower since the last release, or since BASE: before a release.
bench-guard:
	$(GO) run ./benchmarks/guard $(if $(BASE),--base '$(BASE)')

# The comparison with other servers, which have a module of their own.
peers: programs
	cd $(PEERS) && $(GO) run . --json ../../docs/peers/peers.json --plots ../../docs/peers --markdown ../../docs/peers.md

# The console's picture in the README, as the browser test sees it.
screenshot: needs
	mkdir -p artifacts
	$(GO) test -count 1 -run TestConsole -artifacts -outputdir artifacts ./cmd/sluice/e2e
	cp "$$(find artifacts -name console.png | head -1)" docs/console.png

# What is committed, for all systems, with checksums: in dist/.
release:
	@GO=$(GO) .ci/release

# Builds it again from nothing, and compares.
verify-release:
	@GO=$(GO) .ci/release verify

clean:
	rm -rf bin dist artifacts cmd/sluice/e2e/node/node_modules
