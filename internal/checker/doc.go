// Package checker runs Waybill against real servers under faults and judges what came of it. An oracle in the same database transaction knows the truth; a
// second Kafka client reads the broker from its beginning; relaytest.Judge compares the two. It shares no code with the relay's store.
//
//	oracle, workload   what was committed: tables written in the business transaction, an intent log on disk for what was planned to roll back
//	relays, faults     relay processes that are killed, paused and restarted; servers that are killed; caches that are harmed; a fault log with a proof for each
//	evidence, verdict  what the broker, the outbox and the oracle say, and whether that keeps the promises, or whether the run proves nothing
//	bugs               each planted bug with the workload and the faults that bring it to light
//
// The program is internal/checker/chaos. What is left out on purpose: a run that is void is never green, and no run is repeated until it is.
package checker
