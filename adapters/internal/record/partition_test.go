package record

import (
	"testing"

	"github.com/waybillmq/waybill/relay"
)

// TestMurmur2Vectors: values of the Java client's own unit test (UtilsTest.testMurmur2).
func TestMurmur2Vectors(t *testing.T) {
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		if got := int32(Murmur2(key)); got != want {
			t.Errorf("Murmur2(%q) = %d, Java says %d", key, got, want)
		}
	}
}

func TestKeylessFillsBatchesAndStays(t *testing.T) {
	for _, c := range []struct {
		id   relay.ID
		n    int32
		want int32
	}{{1, 6, 0}, {499, 6, 0}, {500, 6, 1}, {2999, 6, 5}, {3000, 6, 0}, {1 << 62, 7, int32(uint64(1<<62) / 500 % 7)}} {
		if got := Keyless(c.id, c.n); got != c.want {
			t.Errorf("Keyless(%d, %d) = %d, want %d", c.id, c.n, got, c.want)
		}
	}
}
