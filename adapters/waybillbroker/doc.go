// Package waybillbroker hands messages to the bundled broker, which stores each of them once: not when a batch is sent again, and not when another relay sends
// what the one before it had sent and not marked.
//
// What makes it exact: the broker remembers the ids of what an outbox has sent, per partition, until it is told an offset (the floor) below which everything is
// durably marked sent. Three rules of this side carry it: the floor counts only settlements that no crash of the database takes back, it is a contiguous prefix,
// and it never passes a batch whose outcome is unknown. ledger.go keeps the floor, source.go what a partition remembers, publisher.go is the port.
package waybillbroker
