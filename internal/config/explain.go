package config

import (
	"cmp"
	"fmt"
	"reflect"
	"strings"
)

// Key describes one key of the file.
type Key struct {
	Path    string `json:"path"`           // destinations.<name>.brokers, routes[].to.topic
	Kind    string `json:"kind,omitempty"` // of a destination's key: the kind that has it
	Takes   string `json:"takes"`
	Default string `json:"default"` // empty = none
	Range   string `json:"range"`   // empty = any
	Restart bool   `json:"restart"` // a change needs a new start
	Help    string `json:"help"`
}

// Keys lists every key in the order of the file.
func Keys() []Key {
	c := Default()
	c.Destinations = []Destination{NewDestination("<name>", "")}
	route := Route{}
	route.inherit(c)
	c.Routes, c.RouteTests = []Route{route}, []RouteTest{{}}
	var out []Key
	keysOf(reflect.ValueOf(c).Elem(), Key{}, &out)
	return out
}

// Explain finds a key by its path; names and indexes in it may be real ones. Kinds of destinations may each have a key of that name.
func Explain(path string) (found []Key, err error) {
	generic := genericPath(path)
	var paths []string
	for _, k := range Keys() {
		if paths = append(paths, k.Path); k.Path == generic {
			found = append(found, k)
		}
	}
	if found == nil {
		return nil, fmt.Errorf("there is no key %s%s", path, suggestion(generic, paths))
	}
	return found, nil
}

func genericPath(path string) string {
	parts := strings.Split(path, ".")
	for i, p := range parts {
		if at := strings.IndexByte(p, '['); at >= 0 {
			parts[i] = p[:at] + "[]"
		} else if p == "routes" || p == "route_tests" || p == "masks" {
			if i+1 < len(parts) {
				parts[i] = p + "[]"
			}
		}
	}
	if parts[0] == "destinations" && len(parts) > 1 {
		parts[1] = "<name>"
	}
	return strings.Join(parts, ".")
}

// keysOf lists the keys below one.
func keysOf(v reflect.Value, above Key, out *[]Key) {
	for _, f := range fieldsOf(v.Type()) {
		fv, at := v.FieldByIndex(f.index), join(above.Path, f.key)
		k := Key{Path: at, Kind: cmp.Or(f.of, above.Kind), Takes: wanted(fv.Type(), f), Restart: above.Restart || f.is("restart"), Help: f.tag.Get("help")}
		if f.is("needed") {
			k.Help = "required; " + k.Help
		}
		if low := f.tag.Get("min"); low != "" {
			k.Range = low + " to " + f.tag.Get("max")
		}
		switch {
		case fv.Type() == reflect.TypeFor[Secret]():
			k.Takes = "{ env: NAME } or { file: PATH }"
		case isScalar(fv.Type()):
			k.Default = encodeScalar(fv, at, nil).Value
			if k.Default == "null" && !f.is("null") {
				k.Default = ""
			}
		case fv.Kind() == reflect.Struct:
			k.Takes = "keys and values"
		case f.tag.Get("keyed") != "":
			k.Takes = "names, each with its keys and values"
		case fv.Kind() == reflect.Map:
			k.Takes = "names and values"
		default:
			k.Takes = "a list"
		}
		*out = append(*out, k)
		switch {
		case isScalar(fv.Type()):
		case fv.Kind() == reflect.Struct:
			keysOf(fv, k, out)
		case f.tag.Get("keyed") != "":
			k.Path += ".<name>"
			keysOf(fv.Index(0), k, out)
		case fv.Kind() == reflect.Slice && fv.Len() > 0 && fv.Index(0).Kind() == reflect.Struct:
			k.Path += "[]"
			keysOf(fv.Index(0), k, out)
		}
	}
}
