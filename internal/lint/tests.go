package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Test is a test of the repository, or a case that has a name of its own.
type Test struct {
	Name string   // "package.Function", or the name of a case
	In   []string // of a case: the functions that can run it; empty for a function
}

// Tests are all of them, in the order of their files.
type Tests []Test

// has says whether "package.Function" or "package.Function/case" exists.
func (t Tests) has(name string) bool {
	pkg, test, about := splitTest(name)
	function := pkg + "." + test
	if !slices.ContainsFunc(t, func(t Test) bool { return t.Name == function && len(t.In) == 0 }) {
		return false
	}
	return about == "" || slices.ContainsFunc(t, func(t Test) bool { return t.Name == about && slices.Contains(t.In, function) })
}

// suitePackage has the shared suites: functions that tests of adapters call, with cases in maps.
const suitePackage = "relay/relaytest"

// LoadTests reads the names of all tests of a tree: functions that go test runs, the literal names of their subtests, and the cases of the shared suites,
// which are the keys of their maps.
func LoadTests(root fs.FS, tree *Tree) (Tests, error) {
	var tests Tests
	callers := map[string][]string{} // by entry of a suite: the functions that call it
	cases := map[string][]string{}   // by entry of a suite: its cases
	for _, p := range tree.Packages {
		for _, f := range p.Files {
			suite := p.Path == suitePackage && strings.HasPrefix(f.Name, "suite")
			if !f.Test && !suite {
				continue
			}
			text, err := fs.ReadFile(root, path.Join(p.Path, f.Name))
			if err != nil {
				return nil, err
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), f.Name, text, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			if suite {
				entry := suiteOf(f.Name)
				cases[entry] = append(cases[entry], keys(parsed)...)
				continue
			}
			for _, decl := range parsed.Decls {
				fn, ok := decl.(*ast.FuncDecl)
				if !ok || fn.Recv != nil || !isTest(fn.Name.Name) {
					continue
				}
				name := p.Path + "." + fn.Name.Name
				tests = append(tests, Test{Name: name})
				for _, sub := range subtests(fn) {
					tests = append(tests, Test{Name: sub, In: []string{name}})
				}
				for _, entry := range suiteEntries(fn, p.Path == suitePackage) {
					callers[entry] = append(callers[entry], name)
				}
			}
		}
	}
	for _, entry := range []string{"TestStore", "TestPublisher", "TestCache"} {
		for _, name := range cases[entry] {
			tests = append(tests, Test{Name: name, In: callers[entry]})
		}
	}
	return tests, nil
}

// suiteOf is the entry that runs the cases of a file.
func suiteOf(file string) string {
	switch {
	case strings.HasPrefix(file, "suite_publisher"):
		return "TestPublisher"
	case strings.HasPrefix(file, "suite_cache"):
		return "TestCache"
	}
	return "TestStore"
}

func isTest(name string) bool {
	return name != "TestMain" && (strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz"))
}

// subtests lists the literal names that a function gives to Run.
func subtests(fn *ast.FuncDecl) (names []string) {
	ast.Inspect(fn, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 2 {
			return true
		}
		if sel, ok := call.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Run" {
			names = appendText(names, call.Args[0])
		}
		return true
	})
	return names
}

// suiteEntries lists the shared suites that a function runs, wherever in it; inside their own package they have no prefix.
func suiteEntries(fn *ast.FuncDecl, inside bool) (entries []string) {
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == path.Base(suitePackage) && isTest(n.Sel.Name) {
				entries = append(entries, n.Sel.Name)
			}
		case *ast.Ident:
			if inside && isTest(n.Name) {
				entries = append(entries, n.Name)
			}
		}
		return true
	})
	return entries
}

// keys lists the text keys of all maps that a file declares.
func keys(f *ast.File) (names []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		if pair, ok := n.(*ast.KeyValueExpr); ok {
			names = appendText(names, pair.Key)
		}
		return true
	})
	return names
}

func appendText(names []string, e ast.Expr) []string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return names
	}
	name, err := strconv.Unquote(lit.Value)
	if err != nil {
		return names
	}
	return append(names, name)
}
