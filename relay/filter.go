package relay

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Filter says which messages are meant: all of its terms must hold. The zero Filter means every message.
type Filter struct{ Terms []Term }

// Term is one condition of a filter.
type Term struct {
	Name   string   // one of FilterNames
	Not    bool     // must not hold
	Op     byte     // ':' one of Values; '<' or '>' compares Age
	Values []string // state topic key destination class failure id; in a topic * is any run of characters
	Age    time.Duration
	At     time.Time // since, until; zero = Age ago
}

// FilterNames are the names that a filter knows.
var FilterNames = []string{"state", "topic", "key", "destination", "class", "failure", "id", "age", "since", "until"}

var filterStates = []string{StatePending, StateSent, StateDead, StateDiscarded, string(Retrying), string(Blocked), string(Scheduled)}

// maxFilterBytes and maxFilterValues bound a filter: it comes from outside.
const (
	maxFilterBytes  = 4096
	maxFilterValues = 200
)

// ParseFilter reads `name:value` terms separated by blanks. Comma = or, a leading - = not, age>10m and age<1h compare, quotes hold blanks, commas and
// colons; since and until take a moment (RFC 3339 or a date, UTC) or how long ago it was. An error names the term and, for an unknown name, the nearest one.
func ParseFilter(s string) (Filter, error) {
	var f Filter
	if len(s) > maxFilterBytes {
		return f, fmt.Errorf("filter: longer than %d bytes", maxFilterBytes)
	}
	for {
		s = strings.TrimLeft(s, " \t\n")
		if s == "" {
			return f, nil
		}
		t, rest, err := parseTerm(s)
		if err != nil {
			return Filter{}, fmt.Errorf("filter: %w", err)
		}
		f.Terms, s = append(f.Terms, t), rest
	}
}

func parseTerm(s string) (t Term, rest string, err error) {
	name := s
	if name, t.Not = strings.CutPrefix(name, "-"); t.Not {
		s = name
	}
	end := strings.IndexAny(s, ":<> \t\n\"")
	if end < 0 || !strings.ContainsRune(":<>", rune(s[end])) {
		word := s[:max(end, 0)]
		if end < 0 {
			word = s
		}
		return t, "", fmt.Errorf("%s has no value; write it like state:dead or topic:\"order.*\"", strconv.Quote(word))
	}
	t.Name, t.Op = s[:end], s[end]
	if !slices.Contains(FilterNames, t.Name) {
		return t, "", fmt.Errorf("there is no %s%s", strconv.Quote(t.Name), nearestName(t.Name))
	}
	t.Values, rest, err = parseValues(s[end+1:])
	if err != nil {
		return t, "", fmt.Errorf("%s: %w", t.Name, err)
	}
	if err := t.check(); err != nil {
		return t, "", fmt.Errorf("%s: %w", t.Name, err)
	}
	return t, rest, nil
}

// parseValues reads value[,value…] up to a blank.
func parseValues(s string) (values []string, rest string, err error) {
	for {
		var v string
		if strings.HasPrefix(s, `"`) {
			end := strings.IndexByte(s[1:], '"')
			if end < 0 {
				return nil, "", errors.New("a quote is not closed")
			}
			v, s = s[1:end+1], s[end+2:]
			if s != "" && !strings.ContainsAny(s[:1], ", \t\n") {
				return nil, "", errors.New("after a closing quote comes a comma or a blank")
			}
		} else {
			end := strings.IndexAny(s, ", \t\n")
			if end < 0 {
				end = len(s)
			}
			v, s = s[:end], s[end:]
		}
		if v == "" {
			return nil, "", errors.New("a value is empty")
		}
		if values = append(values, v); len(values) > maxFilterValues {
			return nil, "", fmt.Errorf("more than %d values", maxFilterValues)
		}
		if !strings.HasPrefix(s, ",") {
			return values, s, nil
		}
		s = s[1:]
	}
}

func (t *Term) check() (err error) {
	switch t.Name {
	case "age":
		if t.Op == ':' || len(t.Values) != 1 {
			return errors.New("write age>10m or age<1h")
		}
		t.Age, err = parseAgo(t.Values[0])
		t.Values = nil
		return err
	case "since", "until":
		if t.Op != ':' || len(t.Values) != 1 {
			return fmt.Errorf("takes one moment, like %s:2026-01-31T10:00:00Z, or how long ago, like %s:1h", t.Name, t.Name)
		}
		v := t.Values[0]
		t.Values = nil
		for _, layout := range []string{time.RFC3339, time.DateOnly} {
			if at, err := time.Parse(layout, v); err == nil && !at.IsZero() {
				t.At = at.UTC()
				return nil
			}
		}
		t.Age, err = parseAgo(v)
		return err
	}
	if t.Op != ':' {
		return fmt.Errorf("%c compares nothing here; write %s:value", t.Op, t.Name)
	}
	if t.Name == "failure" && t.Not {
		return errors.New("cannot be left out; name the class or the destination instead")
	}
	for _, v := range t.Values {
		if _, err := ParseFailureID(v); t.Name == "failure" && err != nil {
			return err
		}
		if t.Name == "state" && !slices.Contains(filterStates, v) {
			return fmt.Errorf("%s is no state; there are %s", strconv.Quote(v), strings.Join(filterStates, ", "))
		}
	}
	return nil
}

// parseAgo reads 500ms, 30s, 10m, 2h or 7d.
func parseAgo(s string) (time.Duration, error) {
	for _, u := range []struct {
		name string
		d    time.Duration
	}{{"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour}} {
		digits, ok := strings.CutSuffix(s, u.name)
		n, err := strconv.ParseInt(digits, 10, 64)
		if ok && err == nil && n >= 0 && n <= int64(100*365*24*time.Hour/u.d) && digits[0] != '+' && digits[0] != '-' {
			return time.Duration(n) * u.d, nil
		}
	}
	return 0, fmt.Errorf("%s is no duration; write it like 30s, 10m, 2h or 7d", strconv.Quote(s))
}

// nearestName is the end of a sentence about an unknown name.
func nearestName(name string) string {
	best, most := "", 1
	for _, n := range FilterNames {
		if c := inCommon(name, n); c > most || c == most && c > 1 && len(n) == len(name) {
			best, most = n, c
		}
	}
	if best == "" {
		return "; there are " + strings.Join(FilterNames, ", ")
	}
	return ", did you mean " + strconv.Quote(best) + "?"
}

// inCommon is the length of the longest common subsequence of a and b, 0 when it is less than two thirds of the longer one.
func inCommon(a, b string) int {
	if len(a) > 32 {
		return 0
	}
	row := make([]int, len(b)+1)
	for i := range len(a) {
		diagonal := 0
		for j := range len(b) {
			up := row[j+1]
			if a[i] == b[j] {
				row[j+1] = diagonal + 1
			} else {
				row[j+1] = max(up, row[j])
			}
			diagonal = up
		}
	}
	if 3*row[len(b)] < 2*max(len(a), len(b)) {
		return 0
	}
	return row[len(b)]
}
