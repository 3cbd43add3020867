// Package replica hosts the raft groups of a node over one commit log: what is proposed is replicated, synced, committed and applied, in this order, and only
// then answered. One voter runs through the same code as three.
//
// A group has three goroutines (a fourth, with several voters, reads old entries for those who fell behind). Its worker owns the raft state machine; its writer puts entries and votes into the log and answers raft when they are synced;
// its applier gives committed entries to the group's [Machine]. The groups share nothing but the log, whose frames they fill together: one sync for all.
//
// What the goroutines do stands in functions that neither wait nor look at a clock: group.tick and group.turn, writer.accept and writer.next,
// group.applyWaiting, storage.prefetch. Time comes as ticks, the net as messages ([Config.Send], [Host.Deliver]), so that a simulation calls the same functions in
// the order of its seed.
//
// The library is go.etcd.io/raft/v3 with asynchronous storage writes: nothing is answered, to a peer or to this node itself, before what the answer rests on
// is synced. Start reading at group.go and worker.go; recovery.go says what of it a restart finds again.
package replica
