// Package modelcheck visits every state of small models of the bundled broker, within stated bounds, and shows a shortest way to each state that must not be.
//
// check.go walks a model, breadth first. suspect.go is three nodes of which one may have forgotten what it had synced, and the rule under which it comes back.
// source.go is the source window and the fence: relays with epochs in front of the real state machine of package fsm. docs/replication.md says what came of it.
//
// A model leaves out on purpose: time, the content of messages, changes of the membership but for the return of a lost node, and more than one group. What stands in
// one message, or in one synced frame, is one step.
package modelcheck
