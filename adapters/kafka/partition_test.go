package kafka

import (
	"hash/crc32"
	"hash/fnv"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestPartitionersAgree: franz-go's partitioners are the independent reference, for 1 to 299 partitions and keys of all lengths, the empty one included.
func TestPartitionersAgree(t *testing.T) {
	sum := func(b []byte) uint32 { h := fnv.New32a(); _, _ = h.Write(b); return h.Sum32() }
	for name, ref := range map[Partitioner]kgo.Partitioner{
		PartitionerMurmur2: kgo.StickyKeyPartitioner(nil),
		PartitionerFNV1a:   kgo.StickyKeyPartitioner(kgo.SaramaCompatHasher(sum)),
		PartitionerCRC32:   kgo.StickyKeyPartitioner(func(key []byte, n int) int { return int(crc32.ChecksumIEEE(key) % uint32(n)) }),
	} {
		hash := name.hash()
		topic := ref.ForTopic("t")
		r := rand.New(rand.NewPCG(1, 2))
		for n := int32(1); n < 300; n++ {
			for size := range 140 {
				key := make([]byte, size)
				for i := range key {
					key[i] = byte(r.Uint32())
				}
				got, want := hash(string(key), n), topic.Partition(&kgo.Record{Key: key}, int(n))
				if int(got) != want {
					t.Fatalf("%s: key %x of %d partitions: %d, reference %d", name, key, n, got, want)
				}
			}
		}
	}
}
