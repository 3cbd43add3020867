// Testreport reads the output of `go test -json` and prints what a person wants of it: each package with its seconds and its number of tests, the whole
// output of each test that failed, each test that was skipped with its reason, and the totals. It fails when a test failed or was skipped, or when none ran.
//
//	go test -json ./... | go run ./internal/testreport [failed check …]
//
// Its arguments name checks that failed before the tests; each counts as failed.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() {
	total, err := report(os.Stdin, os.Stdout, os.Args[1:])
	if err != nil {
		fmt.Println("testreport:", err)
	}
	fmt.Println(total)
	if err != nil || total.failed > 0 || total.skipped > 0 {
		os.Exit(1)
	}
}

// event is one line of `go test -json` (go doc cmd/test2json, and go help buildjson for the build's).
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build-output
	Test        string
	Output      string
	Elapsed     float64 // seconds
	FailedBuild string
}

// suite is one package.
type suite struct {
	totals
	output map[string]*strings.Builder // by test; "" is the package's own
}

// totals count tests and subtests; a package that failed outside of any test counts as one.
type totals struct{ passed, failed, skipped int }

// String is the closing line that continuous integration reads.
func (t totals) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.passed, t.failed, t.skipped)
}

// report prints each package when it ends. Only the end of a package shows whether its output is worth printing.
func report(in io.Reader, out io.Writer, checks []string) (totals, error) {
	var total totals
	suites := map[string]*suite{}
	builds := map[string]string{}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(strings.TrimSpace(string(line))) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				return total, fmt.Errorf("this is no output of go test -json: %q", line)
			}
			if e.Action == "build-output" {
				builds[e.ImportPath] += e.Output
			} else if e.Package != "" {
				s := suites[e.Package]
				if s == nil {
					s = &suite{output: map[string]*strings.Builder{}}
					suites[e.Package] = s
				}
				s.take(e)
				if e.Test == "" && slices.Contains([]string{"pass", "fail", "skip"}, e.Action) {
					s.end(e, builds[e.FailedBuild])
					s.print(out, e)
					total.passed += s.passed
					total.failed += s.failed
					total.skipped += s.skipped
					delete(suites, e.Package)
				}
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return total, err
		}
	}
	return conclude(total, suites, out, checks)
}

// conclude adds what no package has counted.
func conclude(total totals, open map[string]*suite, out io.Writer, checks []string) (totals, error) {
	for _, name := range slices.Sorted(maps.Keys(open)) {
		s := open[name]
		s.failed++
		s.print(out, event{Action: "fail", Package: name})
		fmt.Fprintf(out, "FAIL\t%s\tbroken off\n", name)
		total.passed += s.passed
		total.failed += s.failed
		total.skipped += s.skipped
	}
	for _, check := range checks {
		total.failed++
		fmt.Fprintf(out, "FAIL\tcheck %s\n", check)
	}
	if total.passed+total.failed+total.skipped == 0 {
		return total, errors.New("no test ran")
	}
	return total, nil
}

func (s *suite) take(e event) {
	switch e.Action {
	case "output":
		if e.Test == "" && verdict(e.Output) {
			return
		}
		if s.output[e.Test] == nil {
			s.output[e.Test] = &strings.Builder{}
		}
		s.output[e.Test].WriteString(e.Output)
	case "pass":
		if e.Test != "" {
			s.passed++
			delete(s.output, e.Test)
		}
	case "fail":
		if e.Test != "" {
			s.failed++
		}
	case "skip":
		if e.Test != "" {
			s.skipped++
		}
	}
}

// verdict says whether a line of a package's own output is go test's word about it, which print replaces.
func verdict(line string) bool {
	word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
	return slices.Contains([]string{"PASS", "FAIL", "ok", "?"}, word)
}

// end counts a package that failed although none of its tests did: it did not build, or its main function found leftovers.
func (s *suite) end(e event, build string) {
	if e.Action != "fail" || s.failed > 0 {
		return
	}
	s.failed++
	if s.output[""] == nil {
		s.output[""] = &strings.Builder{}
	}
	s.output[""].WriteString(build)
}

func (s *suite) print(out io.Writer, e event) {
	if s.failed > 0 || s.skipped > 0 {
		for _, test := range slices.SortedFunc(maps.Keys(s.output), cmp.Compare[string]) {
			if test != "" || s.failed > 0 {
				fmt.Fprint(out, s.output[test].String())
			}
		}
	}
	word := map[string]string{"pass": "ok", "fail": "FAIL", "skip": "?"}[e.Action]
	if e.Action == "skip" {
		fmt.Fprintf(out, "%s\t%s\t[no test files]\n", word, e.Package)
		return
	}
	fmt.Fprintf(out, "%s\t%s\t%.1fs\t%d tests", word, e.Package, e.Elapsed, s.passed+s.failed+s.skipped)
	if s.failed > 0 || s.skipped > 0 {
		fmt.Fprintf(out, ", %d failed, %d skipped", s.failed, s.skipped)
	}
	fmt.Fprintln(out)
}
