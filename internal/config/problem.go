package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing wrong with a configuration.
type Problem struct {
	File    string // or the name of an environment variable, which has no line
	Line    int    // from 1; 0 = no place in a file
	Column  int
	Path    string // routes[0].to.destination; empty = the whole file
	Text    string // what is wrong, and what to write instead
	Warning bool   // it works all the same
}

func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Warning {
		b.WriteString("warning: ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Problems are all problems of one configuration, in the order of the file.
type Problems []Problem

// Error lists one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Errors returns the problems that are no warnings.
func (ps Problems) Errors() Problems { return ps.filter(false) }

// Warnings returns the problems with which the configuration works all the same.
func (ps Problems) Warnings() Problems { return ps.filter(true) }

func (ps Problems) filter(warning bool) Problems {
	var out Problems
	for _, p := range ps {
		if p.Warning == warning {
			out = append(out, p)
		}
	}
	return out
}

func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// nearest returns the candidate that was probably meant, or "".
func nearest(word string, candidates []string) string {
	limit := max(1, len(word)/3)
	best, distance := "", limit+1
	for _, c := range candidates {
		d := editDistance(word, c)
		if len(word) >= 4 && len(c) >= 4 && (strings.HasPrefix(c, word) || strings.HasPrefix(word, c)) {
			d = min(d, limit) // less near than a slip of the pen
		}
		if d < distance {
			best, distance = c, d
		}
	}
	return best
}

// didYouMean is the end of a sentence about an unknown word.
func didYouMean(word string, candidates []string) string {
	if best := nearest(word, candidates); best != "" {
		return fmt.Sprintf(", did you mean %q?", best)
	}
	if len(candidates) == 0 {
		return ""
	}
	sorted := slices.Sorted(slices.Values(candidates))
	return "; known here: " + strings.Join(sorted, ", ")
}

// maxCompared bounds the words that are compared: editDistance is quadratic.
const maxCompared = 64

// editDistance counts insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
func editDistance(a, b string) int {
	if len(a) > maxCompared || len(b) > maxCompared {
		return maxCompared
	}
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}
