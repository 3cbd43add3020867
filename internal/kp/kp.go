// Package kp names the places where a process may be killed in tests, and the bugs that tests plant to see whether the checker finds them. Without the
// build tag killpoints both are constants that cost nothing.
package kp

// Point is a place on the path of a message at which a crash must lose nothing. See docs/guarantees.md for what happens at each.
type Point string

// The points, in the order in which a message passes them.
const (
	Acquired    Point = "acquired"     // owner, nothing announced to any broker yet
	Read        Point = "read"         // rows read, not claimed
	ClaimSent   Point = "claim_sent"   // the claim's statement is on its way, its answer unknown
	Claimed     Point = "claimed"      // claimed, no byte sent
	Publishing  Point = "publishing"   // part of the batch may be in the socket
	Published   Point = "published"    // stored, the answer not yet looked at
	Answered    Point = "answered"     // ack received, not settled
	SettleSent  Point = "settle_sent"  // settle's COMMIT on its way
	Settled     Point = "settled"      // settled, perhaps not yet flushed
	HeldSettled Point = "held_settled" // failures moved to held
	HeldTaken   Point = "held_taken"   // held messages taken, no byte sent
	Stopping    Point = "stopping"     // everything settled, the lease not released
)

// Points lists every point.
var Points = []Point{Acquired, Read, ClaimSent, Claimed, Publishing, Published, Answered, SettleSent, Settled, HeldSettled, HeldTaken, Stopping}

// Bug is a planted bug.
type Bug string

// The planted bugs. Each must be found by the checker within two minutes.
const (
	SettleBeforeAck     Bug = "settle_before_ack"     // 1: mark before the broker's ack
	CursorIsLast        Bug = "cursor_is_last"        // 2: a reader by id > last
	ForgetHoles         Bug = "forget_holes"          // 2: a reader that forgets its holes
	NoClaim             Bug = "no_claim"              // 3: nothing is claimed before publishing
	NoFence             Bug = "no_fence"              // 4: claim and settle ignore the owner row
	ClaimAnyIncarnation Bug = "claim_any_incarnation" // 23: a claim after a reconnect without the server incarnation
	TwoHeads            Bug = "two_heads"             // 25: every failed message of a key becomes retrying
	NewMessageID        Bug = "new_message_id"        // 12: a new message id for each attempt
	WholeBatchAcked     Bug = "whole_batch_acked"     // 7: the whole batch settled when one message was acked
	FailedToTail        Bug = "failed_to_tail"        // 8: a failed message steps aside and its key goes on
	ChargeOutage        Bug = "charge_outage"         // 28: an outage spends attempts
)

// The bugs planted in the commit log. Its crash images must find each.
const (
	AckBeforeSync Bug = "ack_before_sync" // an append returns before its frame is synced
	TornTailTaken Bug = "torn_tail_taken" // recovery takes a frame for whole by its header alone
	StaleBytes    Bug = "stale_bytes"     // recovery takes what an earlier life of a segment left for good
)

// The bugs planted in replication. Its simulation must find each, and AckBeforeSync too.
const (
	SyncErrorIgnored      Bug = "sync_error_ignored"       // a sync that failed passes for one that did not
	FollowerAckBeforeSync Bug = "follower_ack_before_sync" // a follower confirms entries before they are synced
	AckBeforeMajority     Bug = "ack_before_majority"      // a leader takes its own disk for a majority
	VoteBeforeSync        Bug = "vote_before_sync"         // a vote is given before it is synced
	CampaignBeforeSync    Bug = "campaign_before_sync"     // votes are asked for before the new term is synced
	BaseTooNew            Bug = "base_too_new"             // a follower is given a state behind entries that are still read
	BaseUnkept            Bug = "base_unkept"              // what a follower needs behind that state is given up
)

// ReplicaBugs lists every bug of replication.
var ReplicaBugs = []Bug{AckBeforeSync, SyncErrorIgnored, FollowerAckBeforeSync, AckBeforeMajority, VoteBeforeSync, CampaignBeforeSync, BaseTooNew, BaseUnkept}

// WindowForgotten is planted in the bundled broker: what a partition remembers of its sources does not survive a restart. Its power cuts must find it.
const WindowForgotten Bug = "window_forgotten"

// The bugs planted in the degraded cache. Its own tests must find each.
const (
	CacheParentUnsynced Bug = "cache_parent_unsynced" // 16: its folder is made and the parent is not synced
	CacheAckBelieved    Bug = "cache_ack_believed"    // 17: an ack counts as kept although its sync has failed
	CacheCRCUnchecked   Bug = "cache_crc_unchecked"   // 18: what is read is taken as it is
	CacheSecondTruth    Bug = "cache_second_truth"    // 27: an ownership sends what a former one left in the folder
)

// The bugs planted in the coordinator of consumer groups. Its simulation must find each.
const (
	GenerationKept      Bug = "generation_kept"       // a rebalance ends in the generation that it began in
	AnswerForgotten     Bug = "answer_forgotten"      // a member that is removed is not answered
	InstanceNotFenced   Bug = "instance_not_fenced"   // whoever had an instance id before goes on
	CommitAnyGeneration Bug = "commit_any_generation" // a commit of an earlier generation is taken
	LateLeaderBelieved  Bug = "late_leader_believed"  // a leader assigns again in a generation that runs
)

// GroupBugs lists every bug of consumer groups.
var GroupBugs = []Bug{GenerationKept, AnswerForgotten, InstanceNotFenced, CommitAnyGeneration, LateLeaderBelieved}

// LogBugs lists every bug of the commit log.
var LogBugs = []Bug{AckBeforeSync, TornTailTaken, StaleBytes}

// Bugs lists every planted bug on the path of a message.
var Bugs = []Bug{SettleBeforeAck, CursorIsLast, ForgetHoles, NoClaim, NoFence, ClaimAnyIncarnation, TwoHeads, NewMessageID, WholeBatchAcked, FailedToTail, ChargeOutage, CacheSecondTruth}
