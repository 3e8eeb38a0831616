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
// # What is for what
//
// Types that stand here under another package's name have their methods there: the
// links lead to them.
//
//   - A service: [New] with a [Config] ([DefaultConfig]), [Service.Run], [Service.Reload].
//     [Migrate] and [Grant] prepare a database for it.
//   - Channels of one's own: [Service.Handle] with a [Factory]. A [channels.Channel] may
//     also be a [channels.InHandler], [channels.OutHandler], [channels.InfoHandler],
//     [channels.Reviewer] or [channels.Terminator]. It is given a [channels.Context] and a
//     [github.com/sluicehq/sluice/channels/outbound.Payload], and answers with [OK], [Error],
//     [NoReply] or [Stop] (a [channels.Result]), with [Reject] to a join, or later by a
//     [channels.ReplyTo].
//   - Who may connect: [Service.OnConnect], and [Service.Mount] for another kind of client,
//     each with a [ConnectFunc], which judges a [socket.ConnectRequest] and refuses with a
//     [Refusal]. Who may join: a [TopicRule], of which [Config] has a list, or the channel.
//   - How what goes to a client is kept, thinned out and counted: [Config], a [TopicRule], or
//     [github.com/sluicehq/sluice/channels/outbound.Options] by Context.SetOptions.
//   - Publishing: [Service.Publish] appends to the log, [Service.Broadcast] reaches whoever
//     is there now.
//   - Who is there: [Service.Sockets], [Service.Disconnect].
//   - A server of one's own: [Service.Handler], [Service.AdminHandler], [NoListener].
//   - Errors: [FieldError] and [InvalidError] say what is wrong with what was given;
//     [ErrNewEpoch], [ErrNodeTaken] and [ErrNotOpen] are told apart by [errors.Is].
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
