package config

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

const envPrefix = "WAYBILL_"

// override puts the scalars that WAYBILL_RELAY__LEASE and its like give into the tree, before it is decoded: so they inherit and are checked like the file's.
// Two underscores are one level. Variables that a secret of the file names are no overrides.
func (d *decoder) override(root *yaml.Node, environ []string) {
	named := map[string]bool{}
	secretVariables(root, named)
	environ = slices.Sorted(slices.Values(environ))
	for _, entry := range environ {
		name, text, _ := strings.Cut(entry, "=")
		path, ok := overridePath(name)
		if !ok || named[name] || text == "" { // set to nothing = not set
			continue
		}
		f, known := fixedKey(path)
		if !known {
			d.problems = append(d.problems, Problem{File: name, Text: "there is no key " + strings.Join(path, ".") + " that a variable could set" +
				suggestion(strings.Join(path, "."), fixedKeys())})
			continue
		}
		node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
		if text == "null" && f.is("null") {
			node.Tag = "!!null"
		}
		d.fromEnv[node] = name
		put(root, path, node)
	}
}

func hasOverride(environ []string) bool {
	return slices.ContainsFunc(environ, func(e string) bool {
		name, text, _ := strings.Cut(e, "=")
		_, ok := overridePath(name)
		return ok && text != ""
	})
}

// overridePath splits the name of a variable that means a key. With one level only the known keys count: WAYBILL_DATABASE_URL may be anybody's.
func overridePath(name string) ([]string, bool) {
	rest, ok := strings.CutPrefix(name, envPrefix)
	if !ok || rest == "" {
		return nil, false
	}
	path := strings.Split(strings.ToLower(rest), "__")
	if len(path) > 1 {
		return path, true
	}
	_, ok = fixedKey(path)
	return path, ok
}

// fixedKey finds a scalar key that is no part of a list or a map.
func fixedKey(path []string) (field, bool) {
	t := reflect.TypeFor[Config]()
	for i, key := range path {
		if t.Kind() != reflect.Struct || isScalar(t) {
			return field{}, false
		}
		fields := fieldsOf(t)
		at := slices.IndexFunc(fields, func(f field) bool { return f.key == key })
		if at < 0 {
			return field{}, false
		}
		t = t.FieldByIndex(fields[at].index).Type
		if i == len(path)-1 {
			return fields[at], isScalar(t)
		}
	}
	return field{}, false
}

func fixedKeys() []string {
	var out []string
	var walk func(t reflect.Type, path string)
	walk = func(t reflect.Type, path string) {
		for _, f := range fieldsOf(t) {
			switch ft := t.FieldByIndex(f.index).Type; {
			case isScalar(ft):
				out = append(out, join(path, f.key))
			case ft.Kind() == reflect.Struct:
				walk(ft, join(path, f.key))
			}
		}
	}
	walk(reflect.TypeFor[Config](), "")
	return out
}

func isScalar(t reflect.Type) bool {
	if _, ok := reflect.New(t).Interface().(noneable); ok || t == reflect.TypeFor[Secret]() {
		return true
	}
	return t.Kind() != reflect.Struct && t.Kind() != reflect.Slice && t.Kind() != reflect.Map
}

// put sets a scalar in a tree of mappings, making what is missing. Where the file has something else than a mapping, decoding will say so.
func put(n *yaml.Node, path []string, value *yaml.Node) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value != path[0] {
			continue
		}
		if len(path) == 1 {
			n.Content[i+1] = value
			return
		}
		if n.Content[i+1].Tag == "!!null" {
			n.Content[i+1] = &yaml.Node{Kind: yaml.MappingNode, Line: n.Content[i+1].Line, Column: n.Content[i+1].Column}
		}
		if n.Content[i+1].Kind == yaml.MappingNode {
			put(n.Content[i+1], path[1:], value)
		}
		return
	}
	key := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: path[0], Line: n.Line, Column: n.Column}
	if len(path) == 1 {
		n.Content = append(n.Content, key, value)
		return
	}
	child := &yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column}
	n.Content = append(n.Content, key, child)
	put(child, path[1:], value)
}

// secretVariables collects the names in { env: NAME }.
func secretVariables(n *yaml.Node, names map[string]bool) {
	if n.Kind == yaml.MappingNode && len(n.Content) == 2 && n.Content[0].Value == "env" {
		names[n.Content[1].Value] = true
	}
	for _, child := range n.Content {
		secretVariables(child, names)
	}
}
