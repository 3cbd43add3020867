package mask

import (
	"encoding/json"
	"errors"
)

// Hidden stands for what is hidden.
const Hidden = "●●●"

// maxDepth of JSON that is masked.
const maxDepth = 100

var (
	errNoJSON = errors.New("it is no JSON")
	errDeep   = errors.New("it is JSON nested too deeply")
)

// place is how far paths have matched on the way to a value: pairs of path and step that its children are compared with.
type place struct{ path, step int }

// rewriter copies JSON, byte by byte as it was written, and puts Hidden in place of the values that paths lead to. One use.
type rewriter struct {
	paths  []Path
	in     []byte // valid JSON
	at     int
	out    []byte
	hidden int
}

// hideJSON hides the values of text that paths lead to, and says how many.
func hideJSON(text []byte, paths []Path) ([]byte, int, error) {
	if !json.Valid(text) {
		return nil, 0, errNoJSON
	}
	r := &rewriter{paths: paths, in: text}
	var places []place
	for i, p := range paths {
		if len(p) == 0 { // $ is everything
			return []byte(`"` + Hidden + `"`), 1, nil
		}
		places = append(places, place{i, 0})
	}
	if !r.value(places, 0) {
		return nil, 0, errDeep
	}
	r.blank()
	return r.out, r.hidden, nil
}

// value copies the value at the position. False: it is too deep.
func (r *rewriter) value(places []place, depth int) bool {
	if r.blank(); depth > maxDepth {
		return false
	}
	switch r.in[r.at] {
	case '{':
		return r.children('}', places, depth)
	case '[':
		return r.children(']', places, depth)
	case '"':
		r.copy(r.text())
	default:
		r.copy(r.word())
	}
	return true
}

// children copies an object or an array. Valid JSON has no surprises, so it only looks at what tells the parts apart.
func (r *rewriter) children(end byte, places []place, depth int) bool {
	r.copy(1)
	for index := 0; ; index++ {
		r.blank()
		if r.in[r.at] == ',' {
			r.copy(1)
			r.blank()
		}
		if r.in[r.at] == end {
			r.copy(1)
			return true
		}
		name, n := "", index
		if end == '}' {
			length := r.text()
			_ = json.Unmarshal(r.in[r.at:r.at+length], &name) // valid, as all of it
			n = -1
			r.copy(length)
			r.blank()
			r.copy(1) // the colon
		}
		below, hide := r.below(places, name, n)
		if !hide {
			if !r.value(below, depth+1) {
				return false
			}
			continue
		}
		r.blank()
		kept := len(r.out)
		if !r.value(nil, depth+1) {
			return false
		}
		r.out = append(r.out[:kept], `"`+Hidden+`"`...)
		r.hidden++
	}
}

// below is where paths stand for a child; hide says that one of them ends there.
func (r *rewriter) below(places []place, name string, index int) (below []place, hide bool) {
	for _, p := range places {
		s := &r.paths[p.path][p.step]
		if s.deep {
			below = append(below, p)
		}
		if !s.matches(name, index) {
			continue
		}
		if p.step+1 == len(r.paths[p.path]) {
			return nil, true
		}
		below = append(below, place{p.path, p.step + 1})
	}
	return unique(below), false
}

// unique drops places that are there twice: with several steps of any depth they would double at each level.
func unique(places []place) []place {
	if len(places) < 2 {
		return places
	}
	seen := make(map[place]bool, len(places))
	kept := places[:0]
	for _, p := range places {
		if !seen[p] {
			seen[p] = true
			kept = append(kept, p)
		}
	}
	return kept
}

func (r *rewriter) copy(n int) {
	r.out = append(r.out, r.in[r.at:r.at+n]...)
	r.at += n
}

// blank copies white space.
func (r *rewriter) blank() {
	for r.at < len(r.in) {
		switch r.in[r.at] {
		case ' ', '\t', '\r', '\n':
			r.copy(1)
		default:
			return
		}
	}
}

// text is the length of the text at the position, with its quotes.
func (r *rewriter) text() int {
	for n := 1; ; n++ {
		switch r.in[r.at+n] {
		case '\\':
			n++
		case '"':
			return n + 1
		}
	}
}

// word is the length of the number, true, false or null at the position.
func (r *rewriter) word() int {
	n := 0
	for ; r.at+n < len(r.in); n++ {
		switch r.in[r.at+n] {
		case ',', ']', '}', ' ', '\t', '\r', '\n':
			return n
		}
	}
	return n
}
