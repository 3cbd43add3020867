// Package spool is the degraded cache: claimed messages of destinations whose breaker is open, and acks that cannot be settled, on a local disk. It implements
// [relay.Cache], whose methods carry the contracts, on the commit log of the bundled broker, whose frames make one sync serve all lanes.
//
// It is no second truth. Everything in it is pending in the database too, so every doubt is resolved by leaving something out: a torn tail is cut, damage costs
// the cache what stands behind it, a folder of another outbox is set aside, and whoever deletes the folder loses time and, if acks waited in it, gets
// duplicates. What it never does is to hand out a message of a lane behind one that it has lost, or one that has changed: the order of a key would break, or
// its content.
//
// Left out on purpose: it asks no database and no clock, starts no goroutine but in [Spool.Run], and evicts nothing.
//
// Start reading at message.go and ack.go, the records; lane.go and index.go are what they add up to, without I/O; spool.go and read.go move them; open.go is
// the recovery. The last section of docs/commit-log.md has the format with byte pictures.
package spool
