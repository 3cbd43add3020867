package mask

import (
	"fmt"
	"strconv"
	"strings"
)

// step is one part of a path: a name, an index, or any of these; deep = at any depth below.
type step struct {
	name  string
	index int
	kind  stepKind
	deep  bool
}

type stepKind int

const (
	byName stepKind = iota
	byIndex
	anyChild
)

// Path is a JSON path such as $.card.number, $..email or $.lines[*].address: names, indexes from 0 and * for all, each behind one dot or two for any depth.
type Path []step

// maxSteps bounds a path: its places are looked for at each value.
const maxSteps = 32

// ParsePath reads a path. Names are letters, digits, _ and -, others stand in brackets and quotes: $['card number'].
func ParsePath(text string) (Path, error) {
	rest, ok := strings.CutPrefix(text, "$")
	if !ok {
		return nil, fmt.Errorf("%q is no path: it begins with $", text)
	}
	var path Path
	for rest != "" {
		var s step
		var err error
		if s, rest, err = parseStep(rest); err != nil {
			return nil, fmt.Errorf("%q is no path: %w", text, err)
		}
		if path = append(path, s); len(path) > maxSteps {
			return nil, fmt.Errorf("%q is no path: it has more than %d parts", text, maxSteps)
		}
	}
	return path, nil
}

func parseStep(rest string) (s step, after string, err error) {
	switch {
	case strings.HasPrefix(rest, ".."):
		s.deep = true
		if rest = rest[2:]; strings.HasPrefix(rest, "[") {
			return parseBracket(s, rest[1:])
		}
	case rest[0] == '.':
		rest = rest[1:]
	case rest[0] == '[':
		return parseBracket(s, rest[1:])
	default:
		return s, "", fmt.Errorf("a part begins with . or [, not with %q", rest[:1])
	}
	if strings.HasPrefix(rest, "*") {
		s.kind = anyChild
		return s, rest[1:], nil
	}
	end := strings.IndexAny(rest, ".[")
	if end < 0 {
		end = len(rest)
	}
	if s.name = rest[:end]; s.name == "" {
		return s, "", fmt.Errorf("a name is missing behind a dot")
	}
	if i := strings.IndexAny(s.name, "]'\"*?@()$ ,:"); i >= 0 {
		return s, "", fmt.Errorf("a name with %q stands in brackets and quotes: ['%s']", s.name[i:i+1], s.name)
	}
	return s, rest[end:], nil
}

// parseBracket reads what is behind a bracket: '…', "…", a number or *.
func parseBracket(s step, rest string) (step, string, error) {
	if rest != "" && (rest[0] == '\'' || rest[0] == '"') {
		end := strings.IndexByte(rest[1:], rest[0])
		if end < 0 || !strings.HasPrefix(rest[end+2:], "]") {
			return s, "", fmt.Errorf("a quote and a bracket must close")
		}
		if s.name = rest[1 : end+1]; strings.Contains(s.name, `\`) {
			return s, "", fmt.Errorf("a name has no backslash here")
		}
		return s, rest[end+3:], nil
	}
	inside, after, ok := strings.Cut(rest, "]")
	if !ok {
		return s, "", fmt.Errorf("a bracket must close")
	}
	if inside == "*" {
		s.kind = anyChild
		return s, after, nil
	}
	n, err := strconv.Atoi(inside)
	if err != nil || n < 0 || strings.HasPrefix(inside, "+") {
		return s, "", fmt.Errorf("[%s] is no index: write a number from 0 on, * or a name in quotes", inside)
	}
	s.kind, s.index = byIndex, n
	return s, after, nil
}

// matches says whether a step leads to a child: one of an object has a name, one of an array an index. Names match in any case: more is hidden rather than less.
func (s *step) matches(name string, index int) bool {
	switch s.kind {
	case anyChild:
		return true
	case byIndex:
		return index == s.index
	}
	return index < 0 && strings.EqualFold(name, s.name)
}
