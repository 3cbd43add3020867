package relay

// Known is what an owner knows of its outbox. A claim is on disk before it is answered, so a database that knows of less was put back to an older state: also when
// server and timeline are the same, as after the restore of a snapshot in its own place. Then ids are drawn again that belong to messages which were sent.
// The zero value is nothing.
type Known struct {
	System  int64  // system identifier of the database server
	Outbox  string // uuid of the newest generation
	Epoch   Epoch
	Claimed ID // the highest
}
