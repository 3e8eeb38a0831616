// Package webhooks sends events of the log to endpoints of the application: HTTP POSTs of
// JSON, signed as Standard Webhooks are (https://www.standardwebhooks.com). The front door
// makes one [Runner] of what the configuration has, and runs it while the log is open.
//
//	lease "webhook/NAME" ──▶ cursor "consumer/NAME" ──▶ batch ──▶ POST ──▶ 2xx ──▶ cursor
//
// A webhook is a consumer that Sluice itself runs: it goes on from a position that is kept
// in the store, on the node that has its lease. The others stand by.
//
// # Guarantees
//
// Each event that matches is sent at least once, and in the order of the log: one request at
// a time, and the next only when the last one was answered with 2xx. Repeats come after a
// crash, a lost answer, or when a lease passes to another node while a request is under way;
// a request that is repeated has the same id and body, unless it was cut, or another node
// makes it; payloads that were erased meanwhile are {} in it, which its id does not tell. The cursor moves from where the sender knows it to be, or not at all: what
// somebody else has moved is read again.
//
// What the log no longer keeps, or has taken back in a new epoch, is told to the endpoint as
// a reset, and counted. What is answered with anything but 2xx is sent again, with growing
// pauses, for ever, or until [Webhook.GiveUpAfter]: then it is left out, told to the log,
// and counted. 410 ends the sending until somebody enables the webhook again ([Enable]).
//
// Each webhook has in memory one page of the log, and one body of a request. One that fails
// holds up no other.
//
// # Shutdown
//
// [Runner.Run] ends with its context: requests under way are given [Config.Grace] to be
// answered, positions are committed and leases given back.
package webhooks
