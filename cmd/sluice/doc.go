// Command sluice runs the service, and talks to one that runs: it publishes,
// broadcasts and watches. It is a thin user of the package sluice; what is
// decided here is only how people say what they want.
//
// A command line becomes a [cli], the grammar; process.run ties it to the
// streams and the environment of the process, so that tests run the whole
// program in memory.
//
// Each command has the file of its name, and a file's prefix says which command
// it serves: bench_, publish_ (broadcast too), serve_ and watch_. Settings come by
// flags (flag_values) and by what config_ reads: file, environment and rules for
// topics. admin_client is what publish, broadcast and erase speak by, console the
// page that serve shows, log how serve and migrate log.
//
// # Guarantees
//
// A flag beats the environment, which beats the file, which beats the default.
// What cannot be used is refused before anything is started: all of it at once, on
// the command line, in the environment and in the file, each with the flag, what was
// given, where it came from (of a file, line and column) and what is allowed. The exit
// status is 0 for success, 1 for a failure at run time, 2 for wrong usage.
//
// Publishing reads standard input with bounded memory, and all lines before
// the one that an error names have been published. Watching loses no event
// across reconnects: it resumes from the last offset that it printed, or says
// that it cannot.
//
// # Shutdown
//
// SIGINT and SIGTERM cancel the command's context: serve drains, watch leaves.
// A second signal ends the process at once, with exit status 130.
package main
