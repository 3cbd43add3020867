package outbox

import (
	"encoding/hex"
	"strings"
	"time"
)

// arrays makes Go slices into array parameters. pgx takes slices as they are, in binary; database/sql has no arrays, so there they become array
// literals, which every driver passes on as text (a payload then takes two bytes a byte on the wire).
type arrays interface {
	texts([]*string) any
	bytes([][]byte) any
	times([]*time.Time) any
	bools([]bool) any
}

type nativeArrays struct{}

func (nativeArrays) texts(v []*string) any    { return v }
func (nativeArrays) bytes(v [][]byte) any     { return v }
func (nativeArrays) times(v []*time.Time) any { return v }
func (nativeArrays) bools(v []bool) any       { return v }

// textArrays writes array literals (PostgreSQL manual, 8.15.6 "Array Input and Output Syntax").
type textArrays struct{}

func (textArrays) texts(v []*string) any {
	return literal(v, func(b *strings.Builder, s *string) bool {
		if s == nil {
			return false
		}
		b.WriteByte('"')
		escape.WriteString(b, *s)
		b.WriteByte('"')
		return true
	})
}

func (textArrays) bytes(v [][]byte) any {
	return literal(v, func(b *strings.Builder, p []byte) bool {
		if p == nil {
			return false
		}
		b.WriteString(`"\\x`)
		b.WriteString(hex.EncodeToString(p))
		b.WriteByte('"')
		return true
	})
}

func (textArrays) times(v []*time.Time) any {
	return literal(v, func(b *strings.Builder, t *time.Time) bool {
		if t == nil {
			return false
		}
		b.WriteByte('"')
		b.WriteString(timestamp(*t))
		b.WriteByte('"')
		return true
	})
}

func (textArrays) bools(v []bool) any {
	return literal(v, func(b *strings.Builder, t bool) bool {
		if t {
			b.WriteByte('t')
		} else {
			b.WriteByte('f')
		}
		return true
	})
}

var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// literal writes {…}; write returns false for null.
func literal[E any](v []E, write func(*strings.Builder, E) bool) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, e := range v {
		if i > 0 {
			b.WriteByte(',')
		}
		if !write(&b, e) {
			b.WriteString("NULL")
		}
	}
	b.WriteByte('}')
	return b.String()
}

// timestamp writes a moment as PostgreSQL reads it under every DateStyle, years before 1 and after 9999 too: the database refuses those by name.
func timestamp(t time.Time) string {
	t = t.UTC()
	if t.Year() < 1 {
		return t.AddDate(1-2*t.Year(), 0, 0).Format("2006-01-02 15:04:05.999999") + "+00 BC" // year 0 is 1 BC
	}
	return t.Format("2006-01-02 15:04:05.999999") + "+00"
}
