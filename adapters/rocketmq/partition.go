package rocketmq

import "github.com/waybillmq/waybill/adapters/internal/record"

// Partitioner names the hash that maps a key to a queue. All producers of a topic must use the same one, or equal keys go to different queues.
type Partitioner string

// The partitioners. The queues are those of all masters, sorted by broker name and queue id.
const (
	PartitionerMurmur2  Partitioner = "murmur2"   // (murmur2(key) & 0x7fffffff) mod n, as Kafka's clients
	PartitionerJavaHash Partitioner = "java_hash" // |key.hashCode() mod n|, as the Java client's SelectMessageQueueByHash
)

// hash returns the function key, n → 0 … n-1; n > 0. Nil for a name that is not known.
func (p Partitioner) hash() func(key string, n int32) int32 {
	switch p {
	case PartitionerMurmur2:
		return func(key string, n int32) int32 { return int32(record.Murmur2(key)&0x7fffffff) % n }
	case PartitionerJavaHash:
		return func(key string, n int32) int32 {
			if i := javaHash(key) % n; i < 0 {
				return -i
			} else {
				return i
			}
		}
	}
	return nil
}

// javaHash is java.lang.String.hashCode: over UTF-16 units.
func javaHash(s string) int32 {
	h := int32(0)
	for _, r := range s {
		if r >= 0x10000 {
			r -= 0x10000
			h = 31*h + (0xd800 + r>>10)
			r = 0xdc00 + r&0x3ff
		}
		h = 31*h + r
	}
	return h
}
