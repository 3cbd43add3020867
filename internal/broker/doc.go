// Package broker is the bundled broker: topics of partitions in one replicated commit log, on one node so far.
//
// An acknowledgement means that the record is synced on a majority of the voters, and no consumer sees it earlier; everything else is an error, never a success
// with a remark. What a source (a Waybill relay) appends is stored once, however often it is sent.
//
// [Open] locks and recovers a folder, [Node.Run] works until its context ends. The way of a record: append.go hands it to the leader of its partition's group
// (package replica), which makes it durable (package commitlog) and applies it (package fsm); data.go then knows where it lies, and read.go finds it there.
package broker
