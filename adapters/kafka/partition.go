package kafka

import (
	"hash/crc32"

	"github.com/waybillmq/waybill/adapters/internal/record"
)

// Partitioner names the hash that maps a key to a partition. All producers of a topic must use the same one, or equal keys go to different partitions.
type Partitioner string

// The partitioners.
const (
	PartitionerMurmur2 Partitioner = "murmur2" // the Java client's: (murmur2(key) & 0x7fffffff) mod n
	PartitionerCRC32   Partitioner = "crc32"   // librdkafka's "consistent": crc32(key) mod n
	PartitionerFNV1a   Partitioner = "fnv1a"   // Sarama's: |int32(fnv1a(key)) mod n|
)

func (p Partitioner) known() bool { return p.hash() != nil }

// hash returns the function key, n → 0 … n-1; n > 0.
func (p Partitioner) hash() func(key string, n int32) int32 {
	switch p {
	case PartitionerMurmur2:
		return func(key string, n int32) int32 { return int32(record.Murmur2(key)&0x7fffffff) % n }
	case PartitionerCRC32:
		return func(key string, n int32) int32 { return int32(crc32IEEE(key) % uint32(n)) }
	case PartitionerFNV1a:
		return func(key string, n int32) int32 {
			if i := int32(fnv1a(key)) % n; i < 0 {
				return -i
			} else {
				return i
			}
		}
	}
	return nil
}

func crc32IEEE(key string) uint32 {
	var b [64]byte
	sum := uint32(0)
	for len(key) > 0 {
		n := copy(b[:], key)
		sum = crc32.Update(sum, crc32.IEEETable, b[:n])
		key = key[n:]
	}
	return sum
}

func fnv1a(key string) uint32 {
	h := uint32(2166136261)
	for i := 0; i < len(key); i++ {
		h = (h ^ uint32(key[i])) * 16777619
	}
	return h
}
