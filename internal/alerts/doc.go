// Package alerts tells one webhook what a person should look at: which alerts there are (conditions.go), when each is posted (machine.go), what waits to be
// posted (queue.go), and the signed post itself (sender.go). The first three are pure.
//
// Absent on purpose: a table. Every relay watches the same outbox, one of them posts; another that takes over posts again what still holds, under the same id.
package alerts
