// Package modelcheck visits every state of small models of the bundled broker, within stated bounds, and shows a shortest way to each state that must not be.
//
// check.go walks a model, breadth first. suspect.go is three nodes of which one may have forgotten what it had synced, and the rule under which it comes back.
//
// A model leaves out on purpose: time, the content of messages, changes of the membership but for the return of a lost node, and more than one group. What stands in
// one message, or in one synced frame, is one step.
package modelcheck
