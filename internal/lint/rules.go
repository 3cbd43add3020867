package lint

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Check holds every rule against the tree and returns the problems as sentences, in the order of the rules.
func Check(t *Tree) []string {
	rules := []func(*Tree) []string{checkImports, checkLibraries, checkDependencies, checkDocs, checkNames, checkTop, checkLines}
	var problems []string
	for _, rule := range rules {
		problems = append(problems, rule(t)...)
	}
	return problems
}

// lineOf is the line of the import table for a package.
func lineOf(pkg string) (Imports, bool) {
	best, found := Imports{}, false
	for _, line := range importTable {
		if within(pkg, line.Package) && len(line.Package) >= len(best.Package) {
			best, found = line, true
		}
	}
	return best, found
}

// checkImports: the arrows between our own packages, in files that are no tests.
func checkImports(t *Tree) (problems []string) {
	for _, p := range t.Packages {
		line, found := lineOf(p.Path)
		if !found {
			problems = append(problems, fmt.Sprintf("package %s has no line in the import table", p.Path))
			continue
		}
		for _, imp := range p.productionImports() {
			imported, own := t.own(imp)
			switch {
			case own && !mayImport(p.Path, line, imported):
				problems = append(problems, fmt.Sprintf("%s must not import %s", p.Path, imported))
			case imp == "testing" && !line.TestOnly:
				problems = append(problems, fmt.Sprintf("%s must not import testing outside its tests", p.Path))
			}
		}
	}
	return problems
}

func mayImport(pkg string, line Imports, imported string) bool {
	if within(imported, "cmd") {
		return false
	}
	if within(imported, line.Package) && (!testOnly(imported) || testOnly(pkg)) {
		return true
	}
	for _, may := range line.May {
		named := may != "." && within(imported, may)
		if named && (testOnly(may) || !testOnly(imported)) || may == "." && !testOnly(imported) {
			return true
		}
	}
	return false
}

func testOnly(pkg string) bool {
	line, _ := lineOf(pkg)
	return line.TestOnly
}

// checkLibraries: each library stays where the list says; vendor types do not leave their adapter.
func checkLibraries(t *Tree) (problems []string) {
	for _, p := range t.Packages {
		line, _ := lineOf(p.Path)
		for _, f := range p.Files {
			for _, imp := range f.Imports {
				if _, own := t.own(imp); own || standard(imp) {
					continue
				}
				module := t.moduleOf(imp)
				i := slices.IndexFunc(dependencies, func(d Dependency) bool { return d.Module == module })
				switch {
				case i < 0:
					problems = append(problems, fmt.Sprintf("%s/%s imports %s, which is not in the list of dependencies", p.Path, f.Name, imp))
				case f.Test || line.TestOnly && !line.Standard:
				case line.Standard:
					problems = append(problems, fmt.Sprintf("%s/%s imports %s: this package uses the standard library only", p.Path, f.Name, imp))
				case dependencies[i].In == nil:
					problems = append(problems, fmt.Sprintf("%s/%s must not import %s: only tests may", p.Path, f.Name, imp))
				case !slices.ContainsFunc(dependencies[i].In, func(in string) bool { return within(p.Path, in) }):
					problems = append(problems, fmt.Sprintf("%s/%s must not import %s: that stays in %v", p.Path, f.Name, imp, dependencies[i].In))
				}
			}
		}
	}
	return problems
}

// checkDependencies: go.mod and the list name the same direct dependencies and tools, each with a reason.
func checkDependencies(t *Tree) (problems []string) {
	listed := map[string]bool{}
	for _, d := range dependencies {
		listed[d.Module] = true
		if !slices.ContainsFunc(t.Requires, func(r Require) bool { return r.Module == d.Module }) {
			problems = append(problems, fmt.Sprintf("the list of dependencies has %s, go.mod does not", d.Module))
		}
		if d.Reason == "" {
			problems = append(problems, fmt.Sprintf("dependency %s has no reason", d.Module))
		}
	}
	for _, r := range t.Requires {
		if !r.Indirect && !listed[r.Module] {
			problems = append(problems, fmt.Sprintf("go.mod requires %s, which is not in the list of dependencies", r.Module))
		}
	}
	for _, tool := range t.Tools {
		if !listed[t.moduleOf(tool)] {
			problems = append(problems, fmt.Sprintf("tool %s is not in the list of dependencies", tool))
		}
	}
	return problems
}

// checkDocs: every package says its job; a library's comment begins as go doc expects.
func checkDocs(t *Tree) (problems []string) {
	for _, p := range t.Packages {
		if p.Name != "" && !p.HasDoc {
			problems = append(problems, fmt.Sprintf("package %s has no comment directly above a package clause", p.Path))
		}
	}
	return problems
}

func checkNames(t *Tree) (problems []string) {
	for _, p := range t.Packages {
		for _, name := range append(strings.Split(p.Path, "/"), p.Name) {
			if slices.Contains(bannedNames, name) {
				problems = append(problems, fmt.Sprintf("package %s: the name %s says nothing about what is in it", p.Path, name))
				break
			}
		}
	}
	return problems
}

func checkTop(t *Tree) (problems []string) {
	for _, name := range t.Top {
		if name[0] != '.' && !slices.Contains(topLevel, name) {
			problems = append(problems, fmt.Sprintf("%s does not belong in the root folder", name))
		}
	}
	return problems
}

func checkLines(t *Tree) (problems []string) {
	for _, p := range t.Packages {
		for _, f := range p.Files {
			suite := testOnly(p.Path) && strings.HasPrefix(f.Name, "suite")
			if f.Lines > maxLines && !f.Test && !suite {
				problems = append(problems, fmt.Sprintf("%s has %d lines, more than %d: split it by noun", path.Join(p.Path, f.Name), f.Lines, maxLines))
			}
		}
	}
	return problems
}

// productionImports lists what the files that are no tests import, each once.
func (p *Package) productionImports() []string {
	var all []string
	for _, f := range p.Files {
		if !f.Test {
			all = append(all, f.Imports...)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
