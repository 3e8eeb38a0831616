// Package sluice pushes what happens in a database to the people who watch it.
//
// An application inserts a row into sluice_outbox within its own transaction;
// everyone who has joined the row's topic over a Phoenix Channels socket gets
// it, once and in order. The program cmd/sluice is a thin user of this
// package, and so is a program that brings channels of its own:
//
//	service, err := sluice.New(sluice.Config{DatabaseURL: os.Getenv("DATABASE_URL")})
//	if err != nil {
//		return err
//	}
//	if err := service.Handle("room:*", func() sluice.Channel { return &room{} }); err != nil {
//		return err
//	}
//	return service.Run(ctx)
//
// [Service.Publish] appends to the log from Go, [Service.Broadcast] reaches whoever is
// there now, and [Service.Handler] serves the sockets in a server of the program's own.
//
// What an application implements, and what its channels are given, is declared in
// package channels under the same names, with all methods: see [channels.Channel],
// [channels.Context], [channels.Options] and [channels.Result], and for connect hooks
// [socket.ConnectRequest].
//
// # Guarantees
//
// A row that was committed to the outbox gets an offset in the log, once, and
// offsets are dense. Every channel gets each event of its topic that is
// sequenced after its join was answered, or after the offset that it was
// joined with, once and in the order of offsets, unless its overflow rule sheds
// or disconnects, which is counted. Memory is bounded by
// [Config]. A client that is slow, or a handler that panics, harms itself
// alone.
//
// # Shutdown
//
// [Service.Run] blocks until its context ends, then drains within
// [Config.DrainTimeout]: the line stops fetching and finishes what it has
// taken, its position is committed, what is queued for sockets is written, and
// they are closed with 1012 (service restart, IANA WebSocket close code
// registry). Everything that Run started has ended when it returns.
package sluice
