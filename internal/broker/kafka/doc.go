// Package kafka lets Kafka's clients speak to the bundled broker: it reads requests from sockets, asks the node, and answers in order. It is experimental.
//
// A connection is one goroutine, which reads a request, handles it and writes the answer before it reads the next, as a Kafka broker does: answers have the order of
// their requests, and so have the batches of an idempotent producer. A client that wants to produce beside a long poll opens a second connection, as all of them do.
//
// What a request may cost is bounded before memory is taken for it: its length, what it is decoded to, what waits in the node, an answer that is large. What is not
// offered is not in the table of versions (table.go), and who asks for it all the same loses its connection.
//
// Left out on purpose: transactions, topics made by being named, leader epochs, sessions of Fetch, message formats before version 2, TLS and SASL. Without the last two
// [Listen] takes loopback only.
//
// Sources: Kafka's protocol guide, and the message definitions as package kmsg has them. "Record batch" is format version 2.
package kafka
