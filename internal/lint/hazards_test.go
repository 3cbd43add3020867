package lint

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

const hazardPage = "../../docs/hazards.md"

// Every test that the table names exists, every test that names a hazard is in the table, and the page is the table: UPDATE_DOCS=1 writes it anew.
func TestHazards(t *testing.T) {
	root := os.DirFS("../..")
	tree, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := LoadTests(root, tree)
	if err != nil {
		t.Fatal(err)
	}
	if len(tests) < 700 {
		t.Fatalf("only %d tests were read", len(tests))
	}
	for _, problem := range CheckHazards(chapters(), tests) {
		t.Error(problem)
	}
	page := HazardPage(chapters())
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(hazardPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(hazardPage); err != nil || string(text) != page {
		t.Errorf("%s is not the table of hazards; write it with UPDATE_DOCS=1 (%v)", hazardPage, err)
	}
}

// tested is a small repository with a suite, its caller, a test with a case and tests that name hazards.
func tested(t *testing.T, extra string) Tests {
	t.Helper()
	root := good()
	for name, text := range map[string]string{
		"outbox/a_test.go": "package outbox\nfunc TestPlain(t *testing.T) { t.Run(\"A2 a case\", nil); t.Run(name, nil) }\nfunc TestNamed_A1_R5_Twice_A2(t *testing.T) {}\n" +
			"func TestGluedA1A2(t *testing.T) {}\nfunc TestMain(m *testing.M) {}\nfunc helper() { t.Run(\"A1 of a helper\", nil) }\n" + extra,
		"outbox/suite_test.go":         "package outbox\nfunc FuzzContract(t *testing.T) { relaytest.TestStore(t, nil) }\n",
		"relay/relaytest/suite_two.go": "package relaytest\nvar cases = map[string]func(){\"a row (A1)\": nil, \"R1 another\": nil}\n",
		"relay/relaytest/own_test.go":  "package relaytest\nfunc TestMemory(t *testing.T) { TestStore(t) }\n",
	} {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	tree, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := LoadTests(root, tree)
	if err != nil {
		t.Fatal(err)
	}
	return tests
}

func small() []Chapter {
	return []Chapter{{"A", "Of all kinds", []Hazard{
		{ID: "A1", What: "one", Answer: "a", Tests: []string{"outbox.TestNamed_A1_R5_Twice_A2", "outbox.TestGluedA1A2", "outbox.FuzzContract/a row (A1)"}},
		{ID: "A2", What: "two", Answer: "b", Tests: []string{"outbox.TestPlain/A2 a case", "outbox.TestNamed_A1_R5_Twice_A2", "outbox.TestGluedA1A2"}, Open: "the rest of it"},
		{ID: "A3", What: "three", Absent: "it does not exist"},
	}}}
}

func TestHazardsThatAreWell(t *testing.T) {
	if problems := CheckHazards(small(), tested(t, "")); len(problems) > 0 {
		t.Errorf("%q", problems)
	}
	page := HazardPage(small())
	for _, want := range []string{"Of 3 hazards 1 are **covered**", "1 are **open**", "1 are **not here**", "\n## A Of all kinds\n",
		"| A1 | one | a | `outbox` TestNamed_A1_R5_Twice_A2, TestGluedA1A2, FuzzContract “a row (A1)” |\n",
		"TestGluedA1A2; **open** |\n| A3 | three | – | not here: it does not exist |\n", "\n## What is open\n\n- A2, two: the rest of it\n"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
}

// Each row breaks the table or the tests in one way; exactly that problem must be found.
func TestHazardsThatAreWrong(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(h []Hazard) []Hazard
		extra  string // of the tests
		want   string
	}{
		{"twice", func(h []Hazard) []Hazard { return append(h, Hazard{ID: "A3", What: "x", Absent: "y"}) }, "", "hazard A3 stands in the place of A4"},
		{"unknown function", func(h []Hazard) []Hazard { h[0].Tests = append(h[0].Tests, "outbox.TestGone"); return h }, "", "outbox.TestGone, which does not exist"},
		{"unknown package", func(h []Hazard) []Hazard { h[0].Tests = append(h[0].Tests, "nowhere.TestPlain"); return h }, "", "nowhere.TestPlain, which does not exist"},
		{"no package", func(h []Hazard) []Hazard { h[0].Tests = append(h[0].Tests, "TestPlain"); return h }, "", "TestPlain, which does not exist"},
		{"unknown case", func(h []Hazard) []Hazard { h[0].Tests = append(h[0].Tests, "outbox.TestPlain/gone"); return h }, "", "outbox.TestPlain/gone, which does not exist"},
		{"case of another", func(h []Hazard) []Hazard { h[0].Tests = append(h[0].Tests, "outbox.TestPlain/a row (A1)"); return h }, "", "a row (A1), which does not exist"},
		{"TestMain", func(h []Hazard) []Hazard { h[0].Tests = append(h[0].Tests, "outbox.TestMain"); return h }, "", "outbox.TestMain, which does not exist"},
		{"listed twice", func(h []Hazard) []Hazard { h[0].Tests = append(h[0].Tests, "outbox.TestGluedA1A2"); return h }, "", "lists outbox.TestGluedA1A2 twice"},
		{"a function not listed", func(h []Hazard) []Hazard { return h }, "func TestNew_A1(t *testing.T) {}\n", "the name of outbox.TestNew_A1 says A1"},
		{"a fuzz test not listed", func(h []Hazard) []Hazard { return h }, "func FuzzNewA2(f *testing.F) {}\n", "the name of outbox.FuzzNewA2 says A2"},
		{"a case not listed", func(h []Hazard) []Hazard { h[0].Tests = h[0].Tests[:2]; return h }, "", "the name of a row (A1) says A1"},
		{"no test", func(h []Hazard) []Hazard { return append(h, Hazard{ID: "A4", What: "x", Answer: "y"}) }, "", "hazard A4 has no test"},
		{"no words", func(h []Hazard) []Hazard { return append(h, Hazard{ID: "A4", What: "x", Open: "y"}) }, "", "hazard A4 has no words"},
		{"both", func(h []Hazard) []Hazard { h[2].Open = "x"; return h }, "", "hazard A3 has nothing to test, and yet"},
		{"a bar", func(h []Hazard) []Hazard { h[2].What = "x | y"; return h }, "", "breaks the table"},
	} {
		table := small()
		table[0].Hazards = c.change(table[0].Hazards)
		problems := CheckHazards(table, tested(t, c.extra))
		if len(problems) != 1 || !strings.Contains(problems[0], c.want) {
			t.Errorf("%s: want the one problem %q, got %q", c.name, c.want, problems)
		}
	}
}

// A suite's case belongs to each test that runs the suite.
func TestCasesOfSuites(t *testing.T) {
	tests := tested(t, "")
	i := slices.IndexFunc(tests, func(t Test) bool { return t.Name == "R1 another" })
	if i < 0 || !slices.Equal(tests[i].In, []string{"outbox.FuzzContract", "relay/relaytest.TestMemory"}) {
		t.Errorf("%+v", tests)
	}
}
