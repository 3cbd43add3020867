package kafka

import (
	"hash/crc32"
	"hash/fnv"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/waybillmq/waybill/relay"
)

// TestMurmur2Vectors: values of the Java client's own unit test (UtilsTest.testMurmur2).
func TestMurmur2Vectors(t *testing.T) {
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		if got := int32(murmur2(key)); got != want {
			t.Errorf("murmur2(%q) = %d, Java says %d", key, got, want)
		}
	}
}

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

func TestKeylessFillsBatchesAndStays(t *testing.T) {
	for _, c := range []struct {
		id   relay.ID
		n    int32
		want int32
	}{{1, 6, 0}, {499, 6, 0}, {500, 6, 1}, {2999, 6, 5}, {3000, 6, 0}, {1 << 62, 7, int32(uint64(1<<62) / 500 % 7)}} {
		if got := keyless(c.id, c.n); got != c.want {
			t.Errorf("keyless(%d, %d) = %d, want %d", c.id, c.n, got, c.want)
		}
	}
}
