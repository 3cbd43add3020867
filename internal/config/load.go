package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// DefaultPath is where commands look for the file when nobody names one.
const DefaultPath = "config.yaml"

// maxFileBytes bounds a configuration file.
const maxFileBytes = 1 << 20

// Options say what to load.
type Options struct {
	Path         string   // file; empty = DefaultPath if it exists, else none
	Environ      []string // as os.Environ gives it; nil = no overrides
	Strict       bool     // a warning is a problem
	DatabaseOnly bool     // name, destinations and routes may be missing: enough for commands that only talk to the database
}

// Loaded is a configuration together with where its values came from.
type Loaded struct {
	*Config
	File     string // empty = there was none
	Warnings Problems
	origins  map[string]Origin
}

// Load reads, merges and validates: defaults < file < environment. The error is Problems, holding everything that is wrong, or says that the file cannot be
// read. Secrets are not read; see CheckSecrets.
func Load(o Options) (*Loaded, error) {
	path, text, err := readFile(o.Path)
	if err != nil {
		return nil, err
	}
	if path == "" && !hasOverride(o.Environ) {
		return nil, fmt.Errorf("there is no %s here; write one, name one by --config, or set WAYBILL_DATABASE__URL", DefaultPath)
	}
	return Parse(path, text, o)
}

func readFile(path string) (string, []byte, error) {
	named := path != ""
	if !named {
		path = DefaultPath
	}
	f, err := os.Open(path)
	if !named && errors.Is(err, os.ErrNotExist) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return "", nil, fmt.Errorf("configuration: %w", err)
	}
	if len(text) > maxFileBytes {
		return "", nil, fmt.Errorf("configuration: %s is larger than %d KiB", path, maxFileBytes>>10)
	}
	return path, text, nil
}

// Parse is Load for a text in hand; file names it in problems.
func Parse(file string, text []byte, o Options) (*Loaded, error) {
	c := Default()
	d := &decoder{file: file, root: c, fromEnv: map[*yaml.Node]string{}, origins: map[string]Origin{}}
	if o.DatabaseOnly {
		d.optional = []string{"version", "name", "destinations", "routes"}
	}
	if file == "" { // the environment alone
		d.file, d.optional = "environment", append(d.optional, "version")
	}
	root := d.document(text)
	if root != nil {
		d.override(root, o.Environ)
		d.structure(root, reflect.ValueOf(c).Elem(), "")
		d.validate()
	}
	d.problems.sort()
	if bad := d.problems.Errors(); len(bad) > 0 || o.Strict && len(d.problems) > 0 {
		return nil, d.problems
	}
	return &Loaded{Config: c, File: file, Warnings: d.problems, origins: d.origins}, nil
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(?s)(.*)$`)

// document parses one YAML document and returns its top mapping; nil after a problem.
func (d *decoder) document(text []byte) *yaml.Node {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, second yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return &yaml.Node{Kind: yaml.MappingNode, Line: 1, Column: 1}
	}
	if err == nil {
		if err = dec.Decode(&second); err == nil {
			d.problem(&second, "", "a second document begins here; the file holds one")
			return nil
		}
	}
	if !errors.Is(err, io.EOF) {
		at := &yaml.Node{Line: 1, Column: 1}
		m := yamlLine.FindStringSubmatch(err.Error())
		if m == nil {
			m = []string{"", "", err.Error()}
		}
		if line, convErr := strconv.Atoi(m[1]); convErr == nil {
			at.Line = line
		}
		d.problem(at, "", "this is no YAML: %s", m[2])
		return nil
	}
	root := doc.Content[0]
	switch {
	case root.Tag == "!!null":
		return &yaml.Node{Kind: yaml.MappingNode, Line: 1, Column: 1}
	case root.Kind != yaml.MappingNode || root.Anchor != "":
		d.problem(root, "", "expected keys and values at the top, got %s", describe(root))
		return nil
	}
	return root
}

// CheckSecrets reads every secret once and reports those that cannot be read. The texts are dropped.
func (l *Loaded) CheckSecrets() Problems {
	var out Problems
	walkSecrets(reflect.ValueOf(l.Config).Elem(), "", func(path string, s Secret) {
		if _, err := s.Reveal(); err != nil {
			o := l.origins[path]
			out = append(out, Problem{File: l.File, Line: o.Line, Column: o.Column, Path: path, Text: err.Error()})
		}
	})
	return out
}

// PrivateFile is a file from which a key takes a secret, or one that holds secrets itself.
type PrivateFile struct{ Key, Path string }

// PrivateFiles lists the files that others must not read: those that secrets and private keys come from, and the configuration itself where it holds a secret in
// plain text.
func (l *Loaded) PrivateFiles() (files []PrivateFile) {
	plain := ""
	walkSecrets(reflect.ValueOf(l.Config).Elem(), "", func(path string, s Secret) {
		switch {
		case !s.IsSet():
		case s.source.file != "":
			files = append(files, PrivateFile{path, s.source.file})
		case s.source.text != "" && plain == "":
			plain = path
		}
	})
	for i := range l.Destinations {
		d := &l.Destinations[i]
		if t := d.Encryption(); t.Enabled && t.Key != "" {
			files = append(files, PrivateFile{"destinations." + d.Name + ".tls.key", t.Key})
		}
	}
	for _, f := range []PrivateFile{{"dashboard.auth.basic.file", l.Dashboard.Auth.Basic.File}, {"dashboard.tls.key", l.Dashboard.TLS.Key}} {
		if f.Path != "" {
			files = append(files, f)
		}
	}
	if _, env := l.origins[plain]; plain != "" && env && l.origins[plain].Env == "" {
		files = append(files, PrivateFile{plain, l.File})
	}
	return files
}

func walkSecrets(v reflect.Value, path string, visit func(string, Secret)) {
	if s, ok := v.Interface().(Secret); ok {
		visit(path, s)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, f := range fieldsFor(v) {
			walkSecrets(v.FieldByIndex(f.index), join(path, f.key), visit)
		}
	case reflect.Slice:
		for i := range v.Len() {
			walkSecrets(v.Index(i), elementPath(v, i, path), visit)
		}
	case reflect.Map:
		for _, k := range slices.SortedFunc(slices.Values(v.MapKeys()), func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) }) {
			walkSecrets(v.MapIndex(k), join(path, k.String()), visit)
		}
	}
}

// elementPath names an element of a list: by its name where the file does, else by its index.
func elementPath(list reflect.Value, i int, path string) string {
	if d, ok := list.Index(i).Interface().(Destination); ok {
		return join(path, d.Name)
	}
	return path + "[" + strconv.Itoa(i) + "]"
}
