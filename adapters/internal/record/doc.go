// Package record is the mapping of messages to Kafka's records, for every adapter that writes them: the same bytes for the same message, whoever sends it, and
// the same partition for the same key.
package record
