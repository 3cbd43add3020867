// Package group coordinates consumer groups by Kafka's classic protocol, with static members: who is in a group, who leads it, in which generation, what each
// member was given, and how far each partition is consumed.
//
// It is a state machine without I/O, clock or goroutine. A call brings an event and the time; what follows waits in [Coordinator.Take]: changes, which are to be
// stored first, and answers, which may leave when the changes are. A coordinator whose changes could not be stored is given up, and a new one begins with what is
// stored ([Coordinator.Replay]); members notice nothing but a pause.
//
//	Empty → PreparingRebalance → CompletingRebalance → Stable, and back to PreparingRebalance; without members Empty again
//
// In PreparingRebalance members join, until all that were there have come back or the time is up. In CompletingRebalance the new generation has begun, and its
// leader is to say who consumes what. These hold after every call:
//
//	a group that is Completing or Stable has one leader, which is a member
//	a new generation is higher than all before it, and is stored before a member hears of it
//	a member is given one assignment in a generation
//	an offset is taken from a member of the current generation, or of a group that has none
//	each Join and Sync is answered once, at the latest when the time of its rebalance is up
//
// It does not know topics, which the caller checks, nor what subscriptions and assignments mean, but for the names of topics in a subscription.
//
// Rules and codes are those of Kafka's broker: the protocol guide, KIP-62 (rebalance timeout), KIP-134 (delay of the first rebalance), KIP-345 (static members),
// KIP-394 (a member needs an id first), KIP-211 (expiry of offsets), KIP-814 (static leaders skip the assignment).
package group
