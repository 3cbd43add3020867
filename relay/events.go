package relay

import "time"

// Events is how the engine is observed: a struct of functions, each of which may be nil. They are called from the engine's goroutines and must return
// quickly; they must not call back into the relay.
type Events struct {
	Acquired  func(lease Lease)                                                                             // this relay became owner
	Lost      func(epoch Epoch, cause error)                                                                // it no longer is; nil = released
	Read      func(messages int, took time.Duration)                                                        // a page that was not empty
	Claimed   func(messages int, took time.Duration)                                                        // committed before the first byte
	Published func(destination string, lane Lane, batch []*Message, outcomes []Outcome, took time.Duration) // one answer; batch must not be kept
	Settled   func(messages, receipts int, took time.Duration)                                              // marked sent
	Held      func(destination, topic string, state HeldState, failure *Failure)                            // set aside
	Breaker   func(destination string, open bool, cause Outcome)                                            // opened or closed
	Paused    func(destination string, lane Lane, scope Scope, cause Outcome)                               // a config outcome stopped this scope; tried again every 30 s
	Resumed   func(destination string, lane Lane, scope Scope)                                              // it works again
	Stopped   func(destination string, by *PausedDestination)                                               // a person stopped it; nil = lets it go on
	Behind    func(destination string, lane Lane, from ID, behind bool)                                     // a lane's queue was dropped, or it is live again
	Cached    func(destination string, messages int)                                                        // put into the degraded cache
	Repeats   func(destination, cause string, messages int)                                                 // possible duplicates: owner, unknown, forced
	Reborn    func(cause error)                                                                             // what was read and unclaimed was dropped
	Woken     func(cause string)                                                                            // notify, poll, retry
	Failed    func(op string, err error)                                                                    // an operation failed and will be tried again
}
