package lint

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Chapter is one letter of the table of hazards.
type Chapter struct {
	Letter, Title string
	Hazards       []Hazard
}

// Hazard is one way in which a message could be lost, sent twice, out of order or for nothing, or in which people or machines could be harmed.
//
// Without Open and Absent it is covered: its tests show the answer whole. With Open its tests, if any, show a part. With Absent there is nothing to test.
type Hazard struct {
	ID     string // letter of the chapter and a number from 1; never given again
	What   string // what goes wrong
	Answer string // what the product does about it
	// Tests are "package.Function", the package by its path from the root, or "package.Function/case" with the literal name of a case inside it.
	Tests  []string
	Open   string // what no test shows yet
	Absent string // why there is nothing to test
}

// chapters is the table, in the order of the page.
func chapters() []Chapter {
	return []Chapter{
		{"A", "Visibility and commit order", visibilityHazards},
		{"B", "Time", timeHazards},
		{"C", "Ownership", ownerHazards},
		{"D", "Order, retry, poison", orderHazards},
		{"E", "Answers of brokers", brokerHazards},
		{"F", "Database", databaseHazards},
		{"G", "Process", processHazards},
		{"H", "Degraded cache", cacheHazards},
		{"J", "Bundled broker", bundledHazards},
		{"K", "Overload and recovery", loadHazards},
		{"L", "Bad data", inputHazards},
		{"S", "Security", accessHazards},
	}
}

// CheckHazards holds the table against the tests that exist and returns the problems as sentences: an id that is wrong or there twice, a row that is not one
// of the three kinds, a test that does not exist, a test that names a hazard and is not listed under it.
func CheckHazards(table []Chapter, tests Tests) (problems []string) {
	listed, known := map[string]bool{}, map[string]bool{} // "A1 package.Function/case", and ids
	for _, c := range table {
		for i, h := range c.Hazards {
			if want := c.Letter + strconv.Itoa(i+1); h.ID != want {
				problems = append(problems, fmt.Sprintf("hazard %s stands in the place of %s: ids count up and none is there twice", h.ID, want))
			}
			known[h.ID] = true
			problems = append(problems, h.check()...)
			for _, name := range h.Tests {
				listed[h.ID+" "+name] = true
				if !tests.has(name) {
					problems = append(problems, fmt.Sprintf("hazard %s names %s, which does not exist: name the test that shows it now, or say that it is open", h.ID, name))
				}
			}
		}
	}
	for _, t := range tests {
		for _, id := range t.ids() {
			if known[id] && !listed[id+" "+t.Name] && !slices.ContainsFunc(t.In, func(in string) bool { return listed[id+" "+in+"/"+t.Name] }) {
				problems = append(problems, fmt.Sprintf("the name of %s says %s, and the hazard does not list it", t.Name, id))
			}
		}
	}
	return problems
}

func (h *Hazard) check() (problems []string) {
	say := func(text string) { problems = append(problems, fmt.Sprintf("hazard %s %s", h.ID, text)) }
	if h.What == "" || h.Answer == "" && h.Absent == "" {
		say("has no words")
	}
	switch {
	case h.Absent != "" && (h.Open != "" || len(h.Tests) > 0):
		say("has nothing to test, and yet tests or something open")
	case h.Absent == "" && h.Open == "" && len(h.Tests) == 0:
		say("has no test: say what is open")
	}
	for i, name := range h.Tests {
		if slices.Contains(h.Tests[:i], name) {
			say("lists " + name + " twice")
		}
	}
	if strings.ContainsAny(h.What+h.Answer+h.Open+h.Absent, "|\n") {
		say("has a character that breaks the table")
	}
	return problems
}

// hazardID finds the ids in the name of a function, where they stand behind an underscore or all together at its end.
var hazardID = regexp.MustCompile(`_([A-Z]\d+)`)

var (
	hazardTail = regexp.MustCompile(`(?:[A-Z]\d+)+$`)
	bareID     = regexp.MustCompile(`[A-Z]\d+`)
	wordID     = regexp.MustCompile(`\b[A-Z]\d+\b`)
)

// ids lists what a name says that the test is about: hazards, and whatever else is written like one.
func (t *Test) ids() (ids []string) {
	if len(t.In) > 0 {
		return wordID.FindAllString(t.Name, -1)
	}
	for _, found := range hazardID.FindAllStringSubmatch(t.Name, -1) {
		ids = append(ids, found[1])
	}
	ids = append(ids, bareID.FindAllString(hazardTail.FindString(t.Name), -1)...)
	slices.Sort(ids)
	return slices.Compact(ids)
}

// HazardPage writes the page of the documentation.
func HazardPage(table []Chapter) string {
	var page strings.Builder
	count, covered, absent := 0, 0, 0
	var open []Hazard
	for _, c := range table {
		for _, h := range c.Hazards {
			switch count++; {
			case h.Absent != "":
				absent++
			case h.Open != "":
				open = append(open, h)
			default:
				covered++
			}
		}
	}
	fmt.Fprintf(&page, hazardHead, count, covered, len(open), absent)
	for _, c := range table {
		fmt.Fprintf(&page, "\n## %s %s\n\n| id | hazard | answer | tests |\n|---|---|---|---|\n", c.Letter, c.Title)
		for _, h := range c.Hazards {
			fmt.Fprintf(&page, "| %s | %s | %s | %s |\n", h.ID, h.What, cmp.Or(h.Answer, "–"), h.proof())
		}
	}
	page.WriteString("\n## What is open\n\n")
	for _, h := range open {
		fmt.Fprintf(&page, "- %s, %s: %s\n", h.ID, h.What, h.Open)
	}
	return page.String()
}

const hazardHead = `<!-- UPDATE_DOCS=1 go test ./internal/lint -run TestHazards -->
# Hazards, and the tests that show the answers

What can go wrong between a COMMIT and a broker, what Waybill does about it, and the tests that show it. Of %d hazards %d are **covered**: their tests show the
answer whole. %d are **open**: no test shows the answer, or one shows a part of it; the list at the end says what is missing. %d are **not here**: the feature does
not exist, or no software can show it.

This page is written from the table in ` + "`internal/lint`" + `. A test there fails when a test that is named here does not exist, and when a test whose name has the id of a
hazard is not listed under it.

To run the tests of a row: ` + "`go test ./PACKAGE -run '^TEST$'`" + `. Words in quotes are one case of the test: ` + "`go test ./PACKAGE -v -run '^TEST$'`" + ` shows it by its name.
Tests with a real server find or fetch it (` + "`go run ./internal/testservices/serve install`" + `).
`

// proof is the last column: tests by package, and what they leave open.
func (h *Hazard) proof() string {
	if h.Absent != "" {
		return "not here: " + h.Absent
	}
	var parts []string
	last := ""
	for _, name := range h.Tests {
		pkg, test, about := splitTest(name)
		if about != "" {
			test += " “" + about + "”"
		}
		if pkg != last {
			test = "`" + pkg + "` " + test
		}
		last = pkg
		parts = append(parts, test)
	}
	text := strings.Join(parts, ", ")
	if h.Open == "" {
		return text
	}
	return strings.TrimPrefix(text+"; **open**", "; ")
}

// splitTest takes "package.Function/case" apart.
func splitTest(name string) (pkg, test, about string) {
	dot := strings.Index(name, ".")
	if dot < 0 {
		return name, "", ""
	}
	test, about, _ = strings.Cut(name[dot+1:], "/")
	return name[:dot], test, about
}
