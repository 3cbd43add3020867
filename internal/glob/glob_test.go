package glob

import "testing"

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "a", true}, {"a", "a", true}, {"a", "ab", false}, {"a*", "a", true}, {"a*", "ba", false}, {"*a", "ba", true}, {"*a", "ab", false},
		{"a*b*c", "abc", true}, {"a*b*c", "a1b2c", true}, {"a*b*c", "acb", false}, {"a*a", "a", false}, {"*a*", "bab", true}, {"a**b", "ab", true}, {"*ab*b", "ab", false}, {"a.*", "a.b.c", true}} {
		if got := Parse(c.pattern).Match(c.s); got != c.want {
			t.Errorf("%q on %q: %t", c.pattern, c.s, got)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("order.*.v?", "order.created.v1")
	f.Add("*a*b*", "xxaxxbxx")
	f.Add("", "a")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 12 || len(s) > 24 {
			return
		}
		if got, want := Parse(pattern).Match(s), naive(pattern, s); got != want {
			t.Errorf("pattern %q on %q: %v, want %v", pattern, s, got, want)
		}
	})
}

func naive(p, s string) bool {
	switch {
	case p == "":
		return s == ""
	case p[0] == '*':
		for i := 0; i <= len(s); i++ {
			if naive(p[1:], s[i:]) {
				return true
			}
		}
		return false
	}
	return s != "" && s[0] == p[0] && naive(p[1:], s[1:])
}
