package bench

import (
	"fmt"
	"strings"
	"testing"
)

func TestWitness(t *testing.T) {
	key := func(n int) string { return fmt.Sprintf("k%06d", n) }
	type arrival struct {
		id  int64
		key string
	}
	good := []arrival{{11, key(1)}, {10, key(2)}, {13, key(1)}, {12, key(2)}}
	for _, c := range []struct {
		name    string
		arrived []arrival
		loose   bool
		says    string // empty = all is well
	}{
		{"all, keys interleaved", good, false, ""},
		{"one lost", good[:3], false, "1 are lost"},
		{"one twice", append(good[:4:4], good[0]), false, "1 came twice, 0 out of order"},
		{"a key turned round", []arrival{{13, key(1)}, {10, key(2)}, {11, key(1)}, {12, key(2)}}, false, "1 out of order"},
		{"the same where no order is promised", []arrival{{13, key(1)}, {10, key(2)}, {11, key(1)}, {12, key(2)}}, true, ""},
		{"an id that nobody wrote", append(good[:4:4], arrival{14, key(1)}), false, "1 were never written"},
		{"a key that nobody wrote", append(good[:4:4], arrival{10, "x"}), false, "1 were never written"},
	} {
		w := newWitness(10, 4, !c.loose)
		for _, a := range c.arrived {
			w.saw(a.id, a.key)
		}
		err := w.verdict()
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.name, err, c.says)
		}
	}
}

func TestKeyIndex(t *testing.T) {
	for key, want := range map[string]int{"k000000": 0, "k009999": 9999, "k010000": -1, "k00001": -1, "j000001": -1, "k-00001": -1, "": -1} {
		if got, ok := keyIndex(key); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %d %v, want %d", key, got, ok, want)
		}
	}
}
