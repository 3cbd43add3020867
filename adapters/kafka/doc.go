// Package kafka publishes to Apache Kafka, and to what speaks its protocol, with acks from all in-sync replicas.
//
// A lane is a topic and partition. Each lane has a producer session: a producer id, its epoch, and the sequence number of the next record. A batch whose
// answer is not known stays open and is sent again as the very same bytes, so that the broker can tell a repeat from something new; a sequence number is
// never used for other bytes, because the broker would take them for the repeat and drop them. When the engine presents something else while a batch is
// open, or when the broker has forgotten the session, the lane takes a fresh producer id and the lapse is counted.
//
// Start reading at Publisher.Publish, then lane.run (what is sent), decide in outcome.go (what an answer means), and sender (who travels with whom).
//
// What is absent on purpose: retries, back-off and breaker (the engine owns them), transactions, compression, TLS and SASL.
package kafka
