// Package replica hosts the raft groups of a node over one commit log: what is proposed is replicated, synced, committed and applied, in this order, and only
// then answered. One voter runs through the same code as three.
//
// A group has three goroutines. Its worker owns the raft state machine; its writer puts entries and votes into the log and answers raft when they are synced;
// its applier gives committed entries to the group's [Machine]. The groups share nothing but the log, whose frames they fill together: one sync for all.
//
// The library is go.etcd.io/raft/v3 with asynchronous storage writes: nothing is answered, to a peer or to this node itself, before what the answer rests on
// is synced. Start reading at group.go; recovery.go says what of it a restart finds again.
package replica
