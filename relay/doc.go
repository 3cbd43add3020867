// Package relay is the engine that hands committed outbox messages to brokers. It knows no SQL and no vendor client: Store and Publisher are ports,
// implemented in adapters.
//
// # The path of a message
//
//	reader → claim → router → lanes → publisher → settler
//
// The reader takes messages in id order and remembers holes. The claim is a committed write before the first byte. The router names exactly one
// destination. A lane is an ordered stream inside a destination with one batch in flight. The settler deletes what was acked and writes the receipts; what
// was not acked follows the rules of its outcome.
//
// # Invariants
//
//	settled ⊆ acked ⊆ published ⊆ claimed ⊆ read
//	one batch in flight per lane; per key the order of the ids
//	a closed key has a head, and newer messages of it never overtake it
//	no byte under a lease whose trust has ended
//
// # What is absent on purpose
//
// No clock decides ownership but the database's. No attempt is spent on an outage. No message is skipped by the engine itself.
package relay
