// Package glob matches texts with patterns in which * stands for any run of characters, none as well. It is pure. Absent on purpose: every other sign, and a way to write
// a star that is one.
package glob

import "strings"

// Pattern is compiled: the texts between its stars. Safe for concurrent use.
type Pattern []string

// Parse takes every text.
func Parse(s string) Pattern { return strings.Split(s, "*") }

// Match says whether the whole of s is as the pattern has it, in a time of at most their lengths multiplied.
func (p Pattern) Match(s string) bool {
	if len(p) == 1 {
		return p[0] == s
	}
	first, last := p[0], p[len(p)-1]
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, piece := range p[1 : len(p)-1] {
		i := strings.Index(s, piece)
		if i < 0 {
			return false
		}
		s = s[i+len(piece):]
	}
	return true
}
