package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder walks a yaml.Node beside the struct that it fills. yaml's own strict mode stops at the first error and knows no columns. One use, one goroutine.
type decoder struct {
	file     string
	root     *Config
	optional []string              // required keys that may be missing this time
	fromEnv  map[*yaml.Node]string // scalars that an environment variable put in
	origins  map[string]Origin     // by path, of everything that was given
	problems Problems
}

// Origin is where a value came from. The zero Origin is a default.
type Origin struct {
	File         string
	Line, Column int
	Env          string
}

func (o Origin) String() string {
	switch {
	case o.Env != "":
		return o.Env
	case o.File != "":
		return fmt.Sprintf("%s:%d", o.File, o.Line)
	}
	return "default"
}

// inheriting is an element whose defaults come from elsewhere in the configuration.
type inheriting interface{ inherit(*Config) }

// noneable is a value that the word none switches off.
type noneable interface {
	element() reflect.Type
	set(v reflect.Value)
	setNone()
}

func (o *OrNone[T]) element() reflect.Type { return reflect.TypeFor[T]() }
func (o *OrNone[T]) set(v reflect.Value)   { *o = Some(v.Interface().(T)) }
func (o *OrNone[T]) setNone()              { *o = None[T]() }

// field is a struct field that has a key.
type field struct {
	key   string
	of    string // the kind of destination that has it; empty = every one
	index []int
	tag   reflect.StructTag
}

func (f field) is(flag string) bool { return f.tag.Get(flag) == "true" }

// fieldsOf lists the keys of a struct in the order of its fields; structs marked ",inline" give theirs. Kinds of destinations share names of keys.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		sf := t.Field(i)
		switch key := sf.Tag.Get("key"); key {
		case "", "-":
		case ",inline":
			for _, f := range fieldsOf(sf.Type) {
				f.index, f.of = append([]int{i}, f.index...), sf.Tag.Get("of")
				out = append(out, f)
			}
		default:
			out = append(out, field{key: key, index: []int{i}, tag: sf.Tag})
		}
	}
	return out
}

// fieldsFor lists the keys that a value has: of a destination, those of its kind. A kind that is none has no keys of its own.
func fieldsFor(v reflect.Value) []field {
	fields := fieldsOf(v.Type())
	dest, ok := v.Interface().(Destination)
	if !ok {
		return fields
	}
	return slices.DeleteFunc(fields, func(f field) bool { return f.of != "" && f.of != dest.Kind })
}

func (d *decoder) problem(n *yaml.Node, path, format string, args ...any) {
	d.add(n, path, false, fmt.Sprintf(format, args...))
}

func (d *decoder) add(n *yaml.Node, path string, warning bool, text string) {
	p := Problem{File: d.file, Line: n.Line, Column: n.Column, Path: path, Text: text, Warning: warning}
	if env := d.fromEnv[n]; env != "" {
		p.File, p.Line, p.Column = env, 0, 0
	}
	d.problems = append(d.problems, p)
}

func (d *decoder) origin(n *yaml.Node, path string) {
	if env := d.fromEnv[n]; env != "" {
		d.origins[path] = Origin{Env: env}
	} else {
		d.origins[path] = Origin{File: d.file, Line: n.Line, Column: n.Column}
	}
}

// value decodes n into v, which already holds its default.
func (d *decoder) value(n *yaml.Node, v reflect.Value, f field, path string) {
	d.origin(n, path)
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		d.problem(n, path, "anchors and aliases are not read here; write the value out")
		return
	}
	isNull := n.Kind == yaml.ScalarNode && n.Tag == "!!null"
	if _, ok := v.Addr().Interface().(*Secret); ok {
		d.secret(n, v, f, path, isNull)
		return
	}
	if _, ok := v.Addr().Interface().(*OneOrAny); ok {
		d.oneOrAny(n, v, path)
		return
	}
	if _, ok := v.Addr().Interface().(noneable); ok || (v.Kind() != reflect.Struct && v.Kind() != reflect.Map && v.Kind() != reflect.Slice) {
		d.scalar(n, v, f, path, isNull)
		return
	}
	switch {
	case isNull: // a block all of whose keys are commented out
	case v.Kind() == reflect.Struct:
		d.structure(n, v, path)
	case v.Kind() == reflect.Map:
		d.mapping(n, v, f, path)
	case f.tag.Get("keyed") != "":
		d.keyed(n, v, f, path)
	default:
		d.list(n, v, f, path)
	}
}

// pairs returns key and value nodes of a mapping; duplicates are reported and left out.
func (d *decoder) pairs(n *yaml.Node, path string) [][2]*yaml.Node {
	if n.Kind != yaml.MappingNode {
		d.problem(n, path, "expected keys and values, got %s", describe(n))
		return nil
	}
	var out [][2]*yaml.Node
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if k.Kind != yaml.ScalarNode {
			d.problem(k, path, "a key must be a word, got %s", describe(k))
			continue
		}
		if line, ok := seen[k.Value]; ok {
			d.problem(k, join(path, k.Value), "the key is here twice; first in line %d", line)
			continue
		}
		seen[k.Value] = k.Line
		out = append(out, [2]*yaml.Node{k, n.Content[i+1]})
	}
	return out
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string) {
	pairs := d.pairs(n, path)
	if dest, ok := v.Addr().Interface().(*Destination); ok {
		dest.Kind = kindOf(pairs)
	}
	fields := fieldsFor(v)
	keys := make([]string, len(fields))
	for i, f := range fields {
		keys[i] = f.key
	}
	given := map[string]*yaml.Node{}
	for _, kv := range pairs {
		if !slices.Contains(keys, kv[0].Value) {
			d.unknown(kv[0], v, join(path, kv[0].Value), keys)
			continue
		}
		given[kv[0].Value] = kv[1]
	}
	if n.Kind != yaml.MappingNode {
		return
	}
	for _, f := range fields { // in the order of the struct: what others inherit from comes first
		child, ok := given[f.key]
		switch {
		case ok:
			d.value(child, v.FieldByIndex(f.index), f, join(path, f.key))
		case f.is("required") && !slices.Contains(d.optional, join(path, f.key)):
			d.problem(n, join(path, f.key), "is missing: %s", f.tag.Get("help"))
		}
	}
}

// kindOf looks ahead for the kind of a destination: it decides which keys there are.
func kindOf(pairs [][2]*yaml.Node) string {
	for _, kv := range pairs {
		if kv[0].Value == "kind" && kv[1].Kind == yaml.ScalarNode {
			return kv[1].Value
		}
	}
	return ""
}

// unknown reports a key that a struct does not have. Where the kind of a destination itself is missing or wrong, only that is reported.
func (d *decoder) unknown(key *yaml.Node, v reflect.Value, path string, keys []string) {
	if dest, ok := v.Interface().(Destination); ok {
		var kinds []string
		for _, f := range fieldsOf(v.Type()) {
			if f.key == key.Value {
				kinds = append(kinds, f.of)
			}
		}
		known := slices.Contains([]string{KindKafka, KindRocketMQ, KindRabbitMQ, KindWaybillBroker}, dest.Kind)
		switch {
		case len(kinds) > 0 && !known:
			return
		case len(kinds) > 0:
			d.problem(key, path, "is a key of kind %s, not of %s%s", strings.Join(kinds, " and "), dest.Kind, missing[[2]string{dest.Kind, key.Value}])
			return
		}
	}
	d.problem(key, path, "unknown key%s", didYouMean(key.Value, keys))
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, f field, path string) {
	m := reflect.MakeMap(v.Type())
	for _, kv := range d.pairs(n, path) {
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(kv[1], e, f, join(path, kv[0].Value))
		m.SetMapIndex(reflect.ValueOf(kv[0].Value), e)
	}
	v.Set(m)
}

// keyed decodes a mapping into a slice whose elements keep their key in a field: the order of the file is kept.
func (d *decoder) keyed(n *yaml.Node, v reflect.Value, f field, path string) {
	list := reflect.MakeSlice(v.Type(), 0, 4)
	for _, kv := range d.pairs(n, path) {
		e := d.element(v.Type().Elem())
		e.FieldByName(f.tag.Get("keyed")).SetString(kv[0].Value)
		if text := checkForm("name", kv[0].Value); text != "" {
			d.problem(kv[0], join(path, kv[0].Value), "%s", text)
		}
		if kv[1].Tag == "!!null" {
			kv[1] = &yaml.Node{Kind: yaml.MappingNode, Line: kv[1].Line, Column: kv[1].Column}
		}
		d.value(kv[1], e, field{}, join(path, kv[0].Value))
		list = reflect.Append(list, e)
	}
	v.Set(list)
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, f field, path string) {
	if n.Kind != yaml.SequenceNode {
		d.problem(n, path, "expected a list, got %s", describe(n))
		return
	}
	list := reflect.MakeSlice(v.Type(), 0, len(n.Content))
	for i, item := range n.Content {
		e := d.element(v.Type().Elem())
		if item.Tag == "!!null" && e.Kind() == reflect.Struct {
			item = &yaml.Node{Kind: yaml.MappingNode, Line: item.Line, Column: item.Column}
		}
		d.value(item, e, f, path+"["+strconv.Itoa(i)+"]")
		list = reflect.Append(list, e)
	}
	v.Set(list)
}

func (d *decoder) element(t reflect.Type) reflect.Value {
	p := reflect.New(t)
	if in, ok := p.Interface().(inheriting); ok {
		in.inherit(d.root)
	}
	return p.Elem()
}

func (d *decoder) oneOrAny(n *yaml.Node, v reflect.Value, path string) {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
		if len(items) == 0 {
			d.problem(n, path, "an empty list matches nothing")
		}
	}
	var out OneOrAny
	for _, item := range items {
		e := reflect.New(reflect.TypeFor[string]()).Elem()
		d.scalar(item, e, field{}, path, item.Tag == "!!null")
		out = append(out, e.String())
	}
	v.Set(reflect.ValueOf(out))
}

func (d *decoder) secret(n *yaml.Node, v reflect.Value, f field, path string, isNull bool) {
	switch {
	case isNull && f.is("null"):
		v.Set(reflect.ValueOf(Secret{}))
	case n.Kind == yaml.ScalarNode && n.Tag == "!!str" && n.Value != "":
		if d.fromEnv[n] == "" {
			d.add(n, path, true, "the secret stands in the file as plain text; write { env: NAME } or { file: PATH }")
		}
		v.Set(reflect.ValueOf(SecretText(n.Value)))
	case n.Kind == yaml.MappingNode:
		d.secretSource(n, v, path)
	default: // what is there is not named: it may be the secret
		d.problem(n, path, "expected { env: NAME } or { file: PATH }")
	}
}

func (d *decoder) secretSource(n *yaml.Node, v reflect.Value, path string) {
	pairs := d.pairs(n, path)
	if len(pairs) != 1 || (pairs[0][0].Value != "env" && pairs[0][0].Value != "file") || pairs[0][1].Tag != "!!str" || pairs[0][1].Value == "" {
		d.problem(n, path, "a secret is { env: NAME } or { file: PATH }")
		return
	}
	source := SecretEnv(pairs[0][1].Value)
	if pairs[0][0].Value == "file" {
		source = SecretFile(pairs[0][1].Value)
	}
	v.Set(reflect.ValueOf(source))
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
