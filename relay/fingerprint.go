package relay

import (
	"hash/fnv"
	"regexp"
)

// What differs between two messages that failed for the same reason. Order matters: an address holds numbers, an id may look like one.
var vague = []struct {
	pattern *regexp.Regexp
	word    string
}{
	{regexp.MustCompile(`"[^"]*"|'[^']*'`), "‹name›"},
	{regexp.MustCompile(`\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b`), "‹id›"},
	{regexp.MustCompile(`\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b|\b[\w.-]+:\d{2,5}\b`), "‹host›"},
	{regexp.MustCompile(`\b(?:0x)?(?:[0-9a-f]*\d[0-9a-f]*[a-f]|[0-9a-f]*[a-f][0-9a-f]*\d)[0-9a-f]{4,}\b`), "‹id›"},
	{regexp.MustCompile(`\d[\d,.]*`), "‹n›"},
}

// Normalise replaces what differs between messages that failed for one reason, and cuts the text at 200 characters.
func Normalise(text string) string {
	for _, v := range vague {
		text = v.pattern.ReplaceAllString(text, v.word)
	}
	if r := []rune(text); len(r) > 200 {
		text = string(r[:200])
	}
	return text
}

// fingerprint is the id of a failure group: a 64-bit hash of destination, class and normalised text; never 0.
func fingerprint(destination string, f *Failure) int64 {
	h := fnv.New64a()
	for _, s := range []string{destination, f.Class, Normalise(f.Text)} {
		_, _ = h.Write([]byte(s))
		_, _ = h.Write([]byte{0})
	}
	return int64(h.Sum64() | 1)
}
