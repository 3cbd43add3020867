package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// scalar decodes one word or number, with the range, the choices and the form that the field's tag gives.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, f field, path string, isNull bool) {
	if n.Kind != yaml.ScalarNode {
		d.problem(n, path, "expected %s, got %s", wanted(v.Type(), f), describe(n))
		return
	}
	if isNull {
		if !f.is("null") {
			d.problem(n, path, "expected %s, got null", wanted(v.Type(), f))
		}
		return
	}
	if o, ok := v.Addr().Interface().(noneable); ok {
		if n.Value == "none" || n.Value == "off" || n.Value == "false" && n.Tag == "!!bool" {
			o.setNone()
			return
		}
		e := reflect.New(o.element()).Elem()
		if text := setScalar(e, n, d.fromEnv[n] != "", f); text != "" {
			d.problem(n, path, "%s", text)
			return
		}
		o.set(e)
		return
	}
	if text := setScalar(v, n, d.fromEnv[n] != "", f); text != "" {
		d.problem(n, path, "%s", text)
	}
}

// setScalar reads the text of n into v and returns what is wrong with it. From the environment everything is text.
func setScalar(v reflect.Value, n *yaml.Node, fromEnv bool, f field) string {
	bad := fmt.Sprintf("expected %s, got %s", wanted(v.Type(), f), describe(n))
	text := n.Value
	switch p := v.Addr().Interface().(type) {
	case *time.Duration:
		return setParsed(p, text, f, ParseDuration)
	case *Size:
		return setParsed(p, text, f, ParseSize)
	case *Rate:
		return setParsed(p, text, f, ParseRate)
	case *bool:
		if !fromEnv && n.Tag != "!!bool" || text != "true" && text != "false" {
			return bad
		}
		*p = text == "true"
		return ""
	case *string:
		if !fromEnv && n.Tag != "!!str" {
			return bad + "; put it in quotes"
		}
		*p = text
		if choices := f.tag.Get("enum"); choices != "" && !slices.Contains(strings.Split(choices, "|"), text) {
			return fmt.Sprintf("%q is none of %s%s", text, strings.ReplaceAll(choices, "|", ", "), suggestion(text, strings.Split(choices, "|")))
		}
		return checkForm(f.tag.Get("form"), text)
	}
	i, err := strconv.ParseInt(strings.ReplaceAll(text, "_", ""), 10, 64)
	if err != nil || !fromEnv && n.Tag != "!!int" {
		return bad
	}
	if out := outside(i, f, func(s string) (int64, error) { return strconv.ParseInt(s, 10, 64) }); out != "" {
		return text + " " + out
	}
	v.SetInt(i)
	return ""
}

func suggestion(word string, choices []string) string {
	if best := nearest(word, choices); best != "" {
		return didYouMean(word, choices)
	}
	return ""
}

func setParsed[T ~int64](p *T, text string, f field, parse func(string) (T, error)) string {
	v, err := parse(text)
	if err != nil {
		return err.Error()
	}
	if out := outside(v, f, parse); out != "" {
		return text + " " + out
	}
	*p = v
	return ""
}

// outside says how v leaves the range of the tag; the tag itself is checked by a test.
func outside[T ~int64](v T, f field, parse func(string) (T, error)) string {
	low, lowErr := parse(f.tag.Get("min"))
	high, highErr := parse(f.tag.Get("max"))
	if lowErr == nil && v < low || highErr == nil && v > high {
		return fmt.Sprintf("is out of range: %s to %s", f.tag.Get("min"), f.tag.Get("max"))
	}
	return ""
}

// wanted describes what a key takes.
func wanted(t reflect.Type, f field) string {
	if o, ok := reflect.New(t).Interface().(noneable); ok {
		return wanted(o.element(), f) + " or none"
	}
	switch t {
	case reflect.TypeFor[time.Duration]():
		return "a duration like 500ms, 30s, 5m or 24h"
	case reflect.TypeFor[Size]():
		return "a size like 900KiB or 64MiB"
	case reflect.TypeFor[Rate]():
		return "a rate like 10/s"
	case reflect.TypeFor[bool]():
		return "true or false"
	}
	if choices := f.tag.Get("enum"); choices != "" {
		return "one of " + strings.ReplaceAll(choices, "|", ", ")
	}
	if t.Kind() == reflect.String {
		return "text"
	}
	return "a whole number"
}

// describe names a node's kind and, for short scalars that cannot be a secret, its value.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!null":
		return "null"
	case "!!int", "!!float":
		return "the number " + n.Value
	case "!!bool":
		return n.Value
	case "!!str":
		return "text"
	}
	return "a value of type " + strings.TrimPrefix(n.Tag, "!!")
}
