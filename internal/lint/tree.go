package lint

import (
	"bytes"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Tree is what the rules look at: the sources of one module.
type Tree struct {
	Module   string     // module path
	Packages []*Package // in order of their paths
	Top      []string   // names in the root folder, without what .gitignore leaves out
	ignored  []string   // patterns of .gitignore, for the root folder
	Requires []Require  // of go.mod
	Tools    []string   // tool packages of go.mod
}

// Package is one folder with Go files.
type Package struct {
	Path   string // from the root of the module, "relay/relaytest"
	Name   string
	HasDoc bool // some file that is no test has a package comment attached to its package clause
	Files  []File
}

// File is one Go file, whatever its build constraints.
type File struct {
	Name    string
	Test    bool
	Lines   int
	Imports []string
}

// Require is one line of go.mod.
type Require struct {
	Module   string
	Indirect bool // marked so: nothing in this module imports it
}

// Load reads the sources below root. testdata, folders that begin with a dot or an underscore and nested modules are left out, as the go command
// does, and what .gitignore names in the root folder.
func Load(root fs.FS) (*Tree, error) {
	tree := &Tree{}
	if err := tree.readMod(root); err != nil {
		return nil, err
	}
	if err := tree.readTop(root); err != nil {
		return nil, err
	}
	err := fs.WalkDir(root, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		if name != "." {
			base := path.Base(name)
			if base == "testdata" || base[0] == '.' || base[0] == '_' || tree.isIgnored(name) {
				return fs.SkipDir
			}
			if _, err := fs.Stat(root, name+"/go.mod"); err == nil {
				return fs.SkipDir
			}
		}
		return tree.readPackage(root, name)
	})
	return tree, err
}

func (t *Tree) readPackage(root fs.FS, dir string) error {
	names, err := fs.Glob(root, path.Join(dir, "*.go"))
	if err != nil || len(names) == 0 {
		return err
	}
	p := &Package{Path: dir}
	for _, name := range names {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		file := File{Name: path.Base(name), Test: strings.HasSuffix(name, "_test.go"), Lines: bytes.Count(text, []byte{'\n'})}
		for _, spec := range parsed.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			file.Imports = append(file.Imports, imported)
		}
		p.Files = append(p.Files, file)
		if !file.Test {
			p.Name = parsed.Name.Name
			p.HasDoc = p.HasDoc || strings.TrimSpace(parsed.Doc.Text()) != ""
		}
	}
	t.Packages = append(t.Packages, p)
	return nil
}

// readMod reads the lines of go.mod that the rules need: module, require and tool, alone or in brackets.
func (t *Tree) readMod(root fs.FS) error {
	text, err := fs.ReadFile(root, "go.mod")
	if err != nil {
		return err
	}
	block := ""
	for line := range strings.Lines(string(text)) {
		code, comment, _ := strings.Cut(line, "//")
		words := strings.Fields(code)
		switch {
		case len(words) == 0:
			continue
		case words[0] == ")":
			block = ""
			continue
		case len(words) == 2 && words[1] == "(":
			block = words[0]
			continue
		}
		verb := block
		if verb == "" {
			verb, words = words[0], words[1:]
		}
		if len(words) == 0 {
			return fmt.Errorf("go.mod: %q has no value", strings.TrimSpace(line))
		}
		switch verb {
		case "module":
			t.Module = words[0]
		case "tool":
			t.Tools = append(t.Tools, words[0])
		case "require":
			t.Requires = append(t.Requires, Require{Module: words[0], Indirect: strings.TrimSpace(comment) == "indirect"})
		}
	}
	if t.Module == "" {
		return errors.New("go.mod names no module")
	}
	return nil
}

func (t *Tree) readTop(root fs.FS) error {
	entries, err := fs.ReadDir(root, ".")
	if err != nil {
		return err
	}
	text, err := fs.ReadFile(root, ".gitignore")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for line := range strings.Lines(string(text)) {
		t.ignored = append(t.ignored, strings.Trim(strings.TrimSpace(line), "/"))
	}
	for _, e := range entries {
		if !t.isIgnored(e.Name()) {
			t.Top = append(t.Top, e.Name())
		}
	}
	return nil
}

// isIgnored is for names in the root folder: a build leaves programs and figures there.
func (t *Tree) isIgnored(name string) bool {
	return slices.ContainsFunc(t.ignored, func(pattern string) bool { ok, _ := path.Match(pattern, name); return ok })
}

// own says whether an import is of this module, and gives its path from the root.
func (t *Tree) own(imported string) (string, bool) {
	if imported == t.Module {
		return ".", true
	}
	return strings.CutPrefix(imported, t.Module+"/")
}

// standard says whether an import is of the standard library: its first element has no dot.
func standard(imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	return !strings.Contains(first, ".")
}

// moduleOf is the required module that has the package; "" when none.
func (t *Tree) moduleOf(imported string) string {
	best := ""
	for _, r := range t.Requires {
		if within(imported, r.Module) && len(r.Module) > len(best) {
			best = r.Module
		}
	}
	return best
}

// within says whether a path is root or lies below it.
func within(name, root string) bool {
	rest, ok := strings.CutPrefix(name, root)
	return ok && (rest == "" || rest[0] == '/')
}
