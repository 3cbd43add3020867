package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes.
type Size int64

// Sizes, as the file writes them.
const (
	Byte Size = 1
	KiB       = 1024 * Byte
	MiB       = 1024 * KiB
	GiB       = 1024 * MiB
)

// Count is a number that may be larger than an int of 32 bits.
type Count int64

// Rate is a number per second.
type Rate int64

// OrNone is a value that the word none switches off. The zero value is the zero of T, not none.
type OrNone[T any] struct {
	value T
	none  bool
}

// Some is the value v.
func Some[T any](v T) OrNone[T] { return OrNone[T]{value: v} }

// None is the word none.
func None[T any]() OrNone[T] { return OrNone[T]{none: true} }

// Get returns the value, and false when it is none.
func (o OrNone[T]) Get() (T, bool) { return o.value, !o.none }

func (o OrNone[T]) String() string {
	if o.none {
		return "none"
	}
	return scalarText(o.value)
}

type unit struct {
	name string
	n    int64
}

var durationUnits = []unit{{"d", int64(24 * time.Hour)}, {"h", int64(time.Hour)}, {"m", int64(time.Minute)}, {"s", int64(time.Second)}, {"ms", int64(time.Millisecond)}}
var sizeUnits = []unit{{"GiB", int64(GiB)}, {"MiB", int64(MiB)}, {"KiB", int64(KiB)}, {"B", 1}}

// parseUnits reads whole numbers with units, several in a row: 1h30m. Arithmetic in integers: a float would round.
func parseUnits(s string, units []unit, example string) (int64, error) {
	rest, total := s, int64(0)
	if rest == "" {
		return 0, fmt.Errorf("is empty; write it like %s", example)
	}
	for rest != "" {
		end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if end < 0 {
			return 0, fmt.Errorf("%q has no unit; write it like %s", s, example)
		}
		n, err := strconv.ParseInt(rest[:end], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%q is not a whole number with a unit; write it like %s", s, example)
		}
		rest = rest[end:]
		end = strings.IndexFunc(rest, func(r rune) bool { return r >= '0' && r <= '9' })
		if end < 0 {
			end = len(rest)
		}
		size := int64(0)
		for _, u := range units {
			if u.name == rest[:end] {
				size = u.n
			}
		}
		if size == 0 {
			return 0, fmt.Errorf("%q: %q is no unit here; the units are %s", s, rest[:end], unitNames(units))
		}
		if n > (math.MaxInt64-total)/size {
			return 0, fmt.Errorf("%q is too large", s)
		}
		total, rest = total+n*size, rest[end:]
	}
	return total, nil
}

func unitNames(units []unit) string {
	names := make([]string, len(units))
	for i, u := range units {
		names[len(units)-1-i] = u.name
	}
	return strings.Join(names, " ")
}

// formatUnits writes n with the largest unit that divides it.
func formatUnits(n int64, units []unit) string {
	last := units[len(units)-1]
	if n == 0 {
		return "0" + last.name
	}
	for _, u := range units {
		if n%u.n == 0 {
			return strconv.FormatInt(n/u.n, 10) + u.name
		}
	}
	return strconv.FormatInt(n/last.n, 10) + last.name
}

// ParseDuration reads a duration in the units ms s m h d, like 500ms or 1h30m.
func ParseDuration(s string) (time.Duration, error) {
	n, err := parseUnits(s, durationUnits, "500ms, 30s, 5m, 24h or 7d")
	return time.Duration(n), err
}

// ParseSize reads a size in the units B KiB MiB GiB.
func ParseSize(s string) (Size, error) {
	n, err := parseUnits(s, sizeUnits, "900KiB, 64MiB or 4GiB")
	return Size(n), err
}

// ParseRate reads a rate like 10/s.
func ParseRate(s string) (Rate, error) {
	digits, ok := strings.CutSuffix(s, "/s")
	n, err := strconv.ParseInt(digits, 10, 64)
	if !ok || err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no rate; write it like 10/s", s)
	}
	return Rate(n), nil
}

// scalarText writes a scalar as the file would.
func scalarText(v any) string {
	switch v := v.(type) {
	case time.Duration:
		return formatUnits(int64(v), durationUnits)
	case Size:
		return formatUnits(int64(v), sizeUnits)
	case Rate:
		return strconv.FormatInt(int64(v), 10) + "/s"
	}
	return fmt.Sprint(v)
}

func (s Size) String() string { return scalarText(s) }
func (r Rate) String() string { return scalarText(r) }
