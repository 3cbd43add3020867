// Package outbox publishes messages inside the caller's database transaction: they exist if, and only if, that transaction commits, and a relay then hands
// them to a broker.
//
// The transaction is a pgx.Tx (Publish) or a *sql.Tx (PublishSQL); a pool, a *sql.DB and a bare connection do not compile, since a message that is not
// written in the transaction of the business rows can be lost or lie. The package needs nothing but the standard library and calls the SQL functions of
// the schema, which are the contract; whoever uses another language calls the same functions.
//
// Publishing with a key makes the business transactions of that key wait for each other, from the call to COMMIT: that is what keeps the messages of a key
// in the order of their commits. So change business rows first and publish last, publish several keys in one call (it locks them in one fixed order), and
// repeat the transaction on SQLSTATE 40P01 (deadlock).
//
// What is absent on purpose: no table is read or written directly, nothing is buffered, no goroutine runs.
package outbox
