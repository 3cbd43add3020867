// Package relaytest holds what the engine and its adapters are tested with: Database and Memory, a store in memory with the semantics of the real one;
// Broker and Publisher, a broker whose answers are scripted; Judge, the pure checker of loss, phantoms, order and duplicates; TestStore and TestPublisher,
// the suites that every adapter passes.
//
// Everything works inside a testing/synctest bubble: time is time.Now's, and no lock is held across a wait. A call that breaks the contract of a port panics
// with an explanation: in a test that is the shortest way to the line that is wrong.
package relaytest

// broken stops the test: the caller broke the contract of a port.
func broken(text string) { panic("relaytest: broken invariant: " + text) }
