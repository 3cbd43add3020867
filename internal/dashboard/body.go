package dashboard

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// body is a payload as a page shows it: text alone, whatever it holds.
type body struct {
	Kind string // JSON, text or bytes; empty = there is nothing in it
	Text string
	Cut  bool // there is more
}

const (
	maxBodyText  = 256 << 10 // of a payload that a page shows
	maxBodyBytes = 4 << 10   // of one that is no text
)

// bodyOf makes it readable: JSON is indented with its numbers as they were written, and what could not be seen, or turns text round, is spelt out.
func bodyOf(payload []byte) body {
	if len(payload) == 0 {
		return body{}
	}
	if !isText(payload) {
		cut := payload[:min(len(payload), maxBodyBytes)]
		return body{"bytes", hex.Dump(cut), len(cut) < len(payload)}
	}
	b := body{Kind: "text"}
	var pretty bytes.Buffer
	if len(payload) <= maxBodyText && json.Indent(&pretty, payload, "", "  ") == nil && pretty.Len() <= 4*maxBodyText { // deep JSON grows with the square of its depth
		b.Kind, payload = "JSON", pretty.Bytes()
	}
	if b.Kind == "text" && len(payload) > maxBodyText {
		payload, b.Cut = payload[:maxBodyText], true
		for !utf8.Valid(payload) { // cut between two characters
			payload = payload[:len(payload)-1]
		}
	}
	b.Text = visible(string(payload))
	return b
}

// isText says whether a payload is text that a person can read.
func isText(payload []byte) bool { return utf8.Valid(payload) && !bytes.ContainsRune(payload, 0) }

// visible spells out control characters, and those that have no width or turn text round; lines and tabs stay.
func visible(s string) string {
	odd := func(r rune) bool {
		return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' || r == '\u2029')
	}
	if strings.IndexFunc(s, odd) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if odd(r) {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
