package record

import "github.com/waybillmq/waybill/relay"

// keylessRun is how many consecutive ids without a key go to one partition: full batches form, and a message that is sent again lands where it was.
const keylessRun = 500

// Keyless is the partition, of n, of a message without a key.
func Keyless(id relay.ID, n int32) int32 { return int32(uint64(id) / keylessRun % uint64(n)) }

// Murmur2 is org.apache.kafka.common.utils.Utils.murmur2.
func Murmur2(key string) uint32 {
	const m, r, seed = 0x5bd1e995, 24, 0x9747b28c
	h := uint32(seed) ^ uint32(len(key))
	for len(key) >= 4 {
		k := uint32(key[0]) | uint32(key[1])<<8 | uint32(key[2])<<16 | uint32(key[3])<<24
		k *= m
		k ^= k >> r
		k *= m
		h *= m
		h ^= k
		key = key[4:]
	}
	switch len(key) {
	case 3:
		h ^= uint32(key[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(key[1]) << 8
		fallthrough
	case 1:
		h ^= uint32(key[0])
		h *= m
	}
	h ^= h >> 13
	h *= m
	h ^= h >> 15
	return h
}
