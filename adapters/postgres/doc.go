// Package postgres keeps the outbox in PostgreSQL 15 to 18: it implements relay.Store and relay.Waker, and holds every statement that a relay sends.
//
// # One file, one noun
//
//	store.go         Store, Config: what is opened once for each outbox
//	session.go       the connections, one for each kind of work, each mending itself
//	settings.go      what each connection sets for itself
//	pooler.go        the same through a pooler
//	acquire.go       the lease: acquire, renew, release, alive, generations
//	read.go          pages: ids of page k+1 and rows of page k in one round trip
//	page.go          rows into messages, without an allocation for each
//	wire.go          values and results of a pipeline, in binary
//	holes.go         ids that were drawn and not seen: pure
//	claim.go         the committed write before the first byte
//	settle.go        the marks "sent" and the receipts; what a crash takes back is settled again
//	hold.go          what goes to held, and the attempts of it
//	receipts.go      ids of a receipt as bytes: pure
//	held.go          taking what is due, closed keys
//	front.go         from where on to look for held rows: pure
//	waker.go         LISTEN, and the flag that asks for it
//	housekeeping.go  retention, self-check, limits, registration, long transactions
//	partitions.go    which partitions to add: pure
//	destination.go   which cluster a destination's name stands for
//	inspector*.go    what people see
//	operator.go      what people do
//	examine*.go      facts about server, schema and rights, for the doctor
//	errors.go        SQLSTATE to meaning
//
// # Invariants
//
//	no cursor decides completeness: read = ids above the highest seen and in every hole below it
//	claim, take and settle lock the owner row and demand the epoch: after Acquire has committed no write of an older epoch commits
//	claim demands the server incarnation in which the ids were read: nothing that a crash took back is published
//	a run that is deleted has no gap: every id in it was read and acked
//	every connection is on the server history on which the lease was granted
//
// # What is absent on purpose
//
// No SKIP LOCKED to share work, no xid that is stored, no clock but the database's, no transaction held open while a broker is asked, no id passed over.
package postgres
