package config

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// YAML writes the resolved configuration as a file that would give it again, but for its secrets, which are ***. With origin each value has a comment that
// says where it came from.
func (l *Loaded) YAML(origin bool) []byte {
	var comment func(string, reflect.Value) string
	if origin {
		comment = l.origin
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(encode(reflect.ValueOf(l.Config).Elem(), "", comment)); err != nil {
		panic(err) // the tree is our own
	}
	return b.Bytes()
}

// Values returns the resolved configuration as plain maps, lists and scalars, for JSON. Secrets are ***.
func (l *Loaded) Values() map[string]any {
	var out map[string]any
	if err := encode(reflect.ValueOf(l.Config).Elem(), "", nil).Decode(&out); err != nil {
		panic(err)
	}
	return out
}

// Origins says, by path, where each scalar came from.
func (l *Loaded) Origins() map[string]string {
	out := map[string]string{}
	encode(reflect.ValueOf(l.Config).Elem(), "", func(path string, v reflect.Value) string {
		out[path] = l.origin(path, v)
		return ""
	})
	return out
}

func (l *Loaded) origin(path string, v reflect.Value) string {
	text := l.origins[path].String()
	if o, ok := l.origins[path]; !ok && strings.HasPrefix(path, "routes[") && o == (Origin{}) {
		if _, key, ok := strings.Cut(path, "]."); ok && (strings.HasPrefix(key, "retry.") || key == "on_dead") {
			return l.origin(key, v) // inherited
		}
	}
	if s, ok := v.Interface().(Secret); ok && s.IsSet() {
		text += ", " + s.Origin()
	}
	return text
}

// encode makes the tree of a value; comment, if any, gives the comment of each scalar.
func encode(v reflect.Value, path string, comment func(string, reflect.Value) string) *yaml.Node {
	switch x := v.Interface().(type) {
	case OneOrAny:
		if len(x) == 1 {
			return leaf(strconv.Quote(x[0]), "!!str", yaml.DoubleQuotedStyle, path, v, comment)
		}
	case Secret:
		if !x.IsSet() {
			return leaf("null", "!!null", 0, path, v, comment)
		}
		return leaf(strconv.Quote(stars), "!!str", yaml.DoubleQuotedStyle, path, v, comment)
	}
	if isScalar(v.Type()) {
		return encodeScalar(v, path, comment)
	}
	switch v.Kind() {
	case reflect.Struct:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for _, f := range fieldsFor(v) {
			fv := v.FieldByIndex(f.index)
			if empty(fv) && !f.is("null") {
				continue
			}
			if f.tag.Get("keyed") != "" {
				n.Content = append(n.Content, word(f.key), encodeKeyed(fv, join(path, f.key), comment))
				continue
			}
			n.Content = append(n.Content, word(f.key), encode(fv, join(path, f.key), comment))
		}
		return n
	case reflect.Map:
		n := &yaml.Node{Kind: yaml.MappingNode}
		keys := v.MapKeys()
		slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, k := range keys {
			n.Content = append(n.Content, text(k.String()), encode(v.MapIndex(k), join(path, k.String()), comment))
		}
		return n
	}
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for i := range v.Len() {
		n.Content = append(n.Content, encode(v.Index(i), elementPath(v, i, path), comment))
	}
	return n
}

func encodeKeyed(v reflect.Value, path string, comment func(string, reflect.Value) string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := range v.Len() {
		at := elementPath(v, i, path)
		n.Content = append(n.Content, word(at[strings.LastIndexByte(at, '.')+1:]), encode(v.Index(i), at, comment))
	}
	return n
}

func encodeScalar(v reflect.Value, path string, comment func(string, reflect.Value) string) *yaml.Node {
	switch {
	case v.Kind() == reflect.String && v.String() == "":
		return leaf("null", "!!null", 0, path, v, comment)
	case v.Kind() == reflect.String:
		n := leaf(v.String(), "!!str", 0, path, v, comment)
		n.Style = text(v.String()).Style
		return n
	case v.Kind() == reflect.Bool:
		return leaf(strconv.FormatBool(v.Bool()), "!!bool", 0, path, v, comment)
	}
	s, tag := fmt.Sprint(v.Interface()), "!!str"
	if v.Type() == reflect.TypeFor[OrNone[Count]]() && s != "none" || v.Kind() == reflect.Int {
		tag = "!!int"
	}
	if d, ok := v.Interface().(interface{ Nanoseconds() int64 }); ok {
		s = formatUnits(d.Nanoseconds(), durationUnits)
	}
	return leaf(s, tag, 0, path, v, comment)
}

func leaf(s, tag string, style yaml.Style, path string, v reflect.Value, comment func(string, reflect.Value) string) *yaml.Node {
	if style == yaml.DoubleQuotedStyle {
		s, _ = strconv.Unquote(s)
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: s, Style: style}
	if comment != nil {
		n.LineComment = comment(path, v)
	}
	return n
}

func word(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }

// text is a scalar that stays text whatever it looks like.
func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	if n.Tag != "!!str" || strings.ContainsAny(s, "{}*#:[]&!|>'\"%@`,") && !strings.Contains(s, "\n") {
		n = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Style: yaml.DoubleQuotedStyle}
	}
	return n
}

func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() == 0
	case reflect.String:
		return v.Len() == 0
	}
	return false
}
