package socket

import (
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestLastSilent: what did not answer comes last, and nothing is left out.
func TestLastSilent(t *testing.T) {
	for _, c := range []struct{ found, silent, want string }{
		{"a b c", "", "name"}, {"a b c", "x", "name"}, {"a b c", "a", "b c a"}, {"a b c", "a c", "b a c"}, {"a b", "a b", "a b"}, {"a", "a", "a"},
	} {
		silent := map[string]bool{}
		for a := range strings.FieldsSeq(c.silent) {
			silent[a] = true
		}
		if got := lastSilent("name", strings.Fields(c.found), silent); !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%q without %q: %q, want %q", c.found, c.silent, got, c.want)
		}
	}
}

// TestSilenceIsForgotten: after ten seconds an address is as good as the others, and its row is gone.
func TestSilenceIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n Names
		at := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}
		n.Silent(at)
		time.Sleep(silentFor + time.Second)
		other := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2), Port: 9}
		n.Silent(other)
		if _, kept := n.silent[at.String()]; kept || len(n.silent) != 1 {
			t.Errorf("%v", n.silent)
		}
		if got := n.order(t.Context(), other.String()); !slices.Equal(got, []string{other.String()}) {
			t.Errorf("an address that is no name: %v", got)
		}
	})
}
