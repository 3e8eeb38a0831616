// Package lease has a process hold a name in the store that no other process may have
// at the same time: that of a node, or of a role that one node has.
//
//	Acquire ──▶ Lease ──▶ Keep, which renews it ──▶ Release
//
// [Acquire] waits for a term while another process has the name. [Lease.Keep] renews it,
// one small statement each third of a term, and returns a [*LostError] when somebody
// else has it. What must not be done in another's place asks [Lease.Check] first.
//
// # Guarantees
//
//   - A holder that hangs, or that the store is away from, for a term may lose the name,
//     and hears of it when it goes on; as long as nobody has come it has it still. It
//     is nobody's business to stop it before that: those whom it serves stay served.
//   - Check fails once a term has passed since the last renewal began, by either of this
//     machine's clocks: that which runs on when somebody sets the other, and that which
//     runs on while the machine is asleep.
//   - Nobody waits for a holder whose process has ended on the same machine, as after
//     kill -9. Where that cannot be told for sure (another machine or container, a
//     reboot, a process id that somebody else has now), the term is waited for.
//   - The store's clock may be set: back, and a term is waited for by this machine's
//     clock; forth, and a name may change hands though its holder is well, which is
//     told to that.
//
// # Shutdown
//
// Keep ends with its context; then Release gives the name back, so that the next
// process need not wait.
package lease
