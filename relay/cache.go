package relay

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrCacheFull means that the degraded cache takes no more: its bound, the free space of the file system, or the disk. What it holds stays readable.
	ErrCacheFull = errors.New("the degraded cache is full")

	// ErrCacheClosed means that the degraded cache can be used again after a restart only: it was stopped, its disk failed, or its folder was removed. The
	// messages in it are pending in the database as before.
	ErrCacheClosed = errors.New("the degraded cache is closed")
)

// CacheDamageError says that a lane has left the cache from a message on, because that one cannot be read. Nothing is lost: the table has all of them.
type CacheDamageError struct {
	Lane CacheLane
	From ID // of this lane the cache holds no message from here on; read them from the table, in their order
	Err  error
}

func (e *CacheDamageError) Error() string {
	return fmt.Sprintf("degraded cache: message %d of destination %q, lane %s, cannot be read: %v; this lane goes on from the table", e.From, e.Lane.Destination, e.Lane.Lane, e.Err)
}

func (e *CacheDamageError) Unwrap() error { return e.Err }

// CacheLane names a lane in the degraded cache, which holds those of all destinations.
type CacheLane struct {
	Destination string
	Lane        Lane
}

// CachedAck is the ack of a message whose settlement waits for the database.
type CachedAck struct {
	ID      ID
	Epoch   Epoch // under which it was acked; set by Unsettled
	At      Position
	AckedAt time.Time
}

// CacheStatus is the degraded cache as people see it.
type CacheStatus struct {
	Destinations []CachedDestination // by name; those that hold something, or were refused
	DiskBytes    int64               // of the segments; more than that of what they hold, until the oldest ones are released
	Dropped      int                 // messages and acks of another generation that were left out, since the start
	Damaged      int                 // messages that left the cache because they cannot be read, since the start
	Closed       error               // nil = open
}

// CachedDestination is what the degraded cache holds of one destination.
type CachedDestination struct {
	Name     string
	Messages int       // still to be sent
	Bytes    int64     // of them
	Acks     int       // that wait for their settlement
	Oldest   ID        // of Messages; 0 = none
	FullAt   time.Time // refused since; zero = its last Put was stored, or everything was forgotten since
}

// Cache is the degraded cache as one ownership uses it: claimed messages of destinations whose breaker is open, and acks that cannot be settled, on a local
// disk. It is no second truth: everything in it is pending in the database too, and losing it loses nothing but time. When an ownership begins, it has no
// messages, and the acks of former ones that count in this history.
//
// A call of one lane at a time, of different lanes at once, unless a method says more. A method that returns an error blocks for the disk.
type Cache interface {
	// Put appends claimed messages of a lane, ascending; the lease is the one under which they were claimed, and gives each its generation. The first `stored`
	// of them are synced when it returns, and handed out by Next as long as they are not forgotten; a message that is there already counts as stored.
	// ErrCacheFull: the others were refused, and with them every higher id of the lane: until the lane has caught up with the table, none must be put, or it
	// would overtake them. A payload that does not fit comes back as one that has to be fetched. The batch is not kept.
	Put(lease Lease, lane CacheLane, batch []*Message) (stored int, err error)

	// Next hands out the lowest messages of a lane that were not handed out yet: at most maxMessages of at most maxBytes on the disk, one at least when there
	// is one. None: the lane is empty. They are as they were read, but for what the router sets. A *CacheDamageError comes with the messages before the one
	// that cannot be read.
	Next(lane CacheLane, maxMessages, maxBytes int) ([]*Message, error)

	// Rewind takes back what Next handed out of a lane and what is neither acked nor forgotten.
	Rewind(lane CacheLane)

	// Has says whether the message or the ack of an id is there. From any goroutine.
	Has(lane CacheLane, id ID) bool

	// Forget drops messages and acks of a lane that are settled, held or gone, from any goroutine. It does not wait for the disk: a crash may bring acks back, which Unsettled
	// returns then. Ids that are not there are passed over.
	Forget(lane CacheLane, ids []ID)

	// Drop forgets every message of a lane, also when the cache is closed, and returns the lowest id of them; 0 = there was none. Acks stay.
	Drop(lane CacheLane) (lowest ID)

	// Acked keeps acks of a lane, of cached messages and of others, from any goroutine. When it has returned nil they are synced, and their settlement may be postponed.
	Acked(lease Lease, lane CacheLane, acks []CachedAck) error

	// Unsettled returns acks of a lane above an id, ascending, at most limit. They count under every later epoch. A message that is pending no more was settled
	// already: forget it.
	Unsettled(lane CacheLane, after ID, limit int) ([]CachedAck, error)

	// Lanes returns the lanes of which anything is there, by destination and lane. From any goroutine.
	Lanes() []CacheLane

	// Remember notes the epoch and the highest claimed id, for the comparison with a restored database; lower ones are passed over. After an error the former
	// ones stand. From any goroutine.
	Remember(epoch Epoch, claimed ID) error

	// Status is for people. From any goroutine.
	Status() CacheStatus
}
