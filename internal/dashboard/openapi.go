package dashboard

import (
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var inPath = regexp.MustCompile(`\{(\w+)\}`)

func (d *Dashboard) apiDocument(http.ResponseWriter, *http.Request) (any, error) {
	return document(d.asks, d.Logins != nil), nil
}

// document describes a table of routes as OpenAPI 3.1 has it; locked = who looks must say who he is. Answers may gain fields, so only what a request carries is closed to
// others.
func document(table []apiRoute, locked bool) schema {
	shapes := shapes{}
	paths := schema{}
	problem := schema{"description": "A problem (RFC 9457)", "content": schema{"application/problem+json": schema{"schema": shapes.of(reflect.TypeFor[problem](), false)}}}
	for _, rt := range table {
		o := schema{"operationId": rt.operationID(), "summary": rt.summary,
			"responses": schema{strconv.Itoa(rt.code): schema{"description": rt.summary, "content": schema{"application/json": schema{"schema": rt.answer(shapes)}}}, "default": problem}}
		if params := rt.parameters(); params != nil {
			o["parameters"] = params
		}
		if rt.secured(locked) {
			o["security"] = []schema{{"token": []string{}}}
			if locked {
				o["security"] = []schema{{"token": []string{}}, {"password": []string{}}}
			}
			o["description"] = "Role " + string(roleNames[rt.role])
		}
		if rt.body != nil {
			o["requestBody"] = schema{"required": true, "content": schema{"application/json": schema{"schema": shapes.of(reflect.TypeOf(rt.body), true)}}}
		}
		path := apiBase + rt.pattern
		if paths[path] == nil {
			paths[path] = schema{}
		}
		paths[path].(schema)[strings.ToLower(rt.method)] = o
	}
	return schema{
		"openapi": "3.1.0",
		"info": schema{"title": "Waybill", "version": "1",
			"description": "Looking at an outbox and acting on its messages. 64-bit numbers are text, times RFC 3339 in UTC, and what is not known is left out. Answers may gain fields."},
		"paths":      paths,
		"components": schema{"schemas": shapes, "securitySchemes": schemes(locked)},
	}
}

// secured says whether one must say who one is.
func (rt *apiRoute) secured(locked bool) bool {
	return rt.role != anybody && (rt.role != viewer || locked)
}

func schemes(locked bool) schema {
	text := "The token of dashboard.token_file. Looking needs none, but for the activity log."
	if !locked {
		return schema{"token": schema{"type": "http", "scheme": "bearer", "description": text}}
	}
	text = "The token of dashboard.token_file, or one of dashboard.auth.tokens."
	return schema{"token": schema{"type": "http", "scheme": "bearer", "description": text},
		"password": schema{"type": "http", "scheme": "basic", "description": "A name of the file of dashboard.auth.basic, and its password."}}
}

// operationID makes getMessagesIdWhy of GET /messages/{id}/why.
func (rt *apiRoute) operationID() string {
	words := strings.FieldsFunc(rt.pattern, func(r rune) bool { return strings.ContainsRune("/{}.", r) })
	name := strings.ToLower(rt.method)
	for _, w := range words {
		name += strings.ToUpper(w[:1]) + w[1:]
	}
	return name
}

func (rt *apiRoute) parameters() (all []schema) {
	for _, m := range inPath.FindAllStringSubmatch(rt.pattern, -1) {
		all = append(all, schema{"name": m[1], "in": "path", "required": true, "schema": anyText})
	}
	for _, p := range rt.query {
		all = append(all, schema{"name": p.name, "in": "query", "required": p.required, "description": p.about, "schema": p.schema})
	}
	if rt.method != "GET" {
		all = append(all, schema{"name": actorHeader, "in": "header", "required": false, "description": "who acts, for the activity log, where the token of dashboard.token_file is sent; it names, it does not prove",
			"schema": schema{"type": "string", "minLength": 1, "maxLength": 40}})
	}
	if rt.method != "GET" && !rt.unkept {
		all = append(all, schema{"name": onceHeader, "in": "header", "required": false, "description": "a request that is sent again under the same key, by the same actor, within 24 hours does nothing and gets the first answer",
			"schema": schema{"type": "string", "minLength": 1, "maxLength": maxOnceKey}})
	}
	return all
}

// answer is the form of a route's answer.
func (rt *apiRoute) answer(shapes shapes) schema {
	if rt.kind == "" {
		return schema{"type": "object"}
	}
	fields := schema{"kind": schema{"const": rt.kind}, "version": schema{"const": 1}}
	item := shapes.of(reflect.TypeOf(rt.shape), false)
	if !rt.list {
		fields["item"] = item
		return schema{"type": "object", "required": []string{"kind", "version", "item"}, "properties": fields}
	}
	fields["items"] = schema{"type": "array", "items": item}
	fields["next"] = schema{"type": "string", "description": "where the next page begins; absent at the end"}
	fields["capped"] = schema{"type": "boolean", "description": "there is more"}
	return schema{"type": "object", "required": []string{"kind", "version", "items", "capped"}, "properties": fields}
}

// shapes are the schemas of Go types, by their names.
type shapes map[string]schema

// of returns the schema of a type as encoding/json writes it; a closed one has no other fields.
func (s shapes) of(t reflect.Type, closed bool) schema {
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem(), closed)
	case reflect.String:
		return schema{"type": "string"}
	case reflect.Bool:
		return schema{"type": "boolean"}
	case reflect.Int:
		return schema{"type": "integer"}
	case reflect.Float64:
		return schema{"type": "number"}
	case reflect.Slice:
		return schema{"type": "array", "items": s.of(t.Elem(), closed)}
	case reflect.Map:
		return schema{"type": "object", "additionalProperties": s.of(t.Elem(), closed)}
	case reflect.Struct:
	default:
		panic("dashboard: the API has no schema for " + t.String()) // a shape is fixed when the program is built
	}
	if t == reflect.TypeFor[time.Time]() {
		return schema{"type": "string", "format": "date-time"}
	}
	name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
	if s[name] == nil {
		o := schema{"type": "object", "properties": schema{}, "required": []string{}}
		if s[name] = o; closed {
			o["additionalProperties"] = false
		}
		s.fields(o, t, closed)
	}
	return schema{"$ref": "#/components/schemas/" + name}
}

// fields adds those of a struct, embedded ones as its own.
func (s shapes) fields(o schema, t reflect.Type, closed bool) {
	for f := range t.Fields() {
		name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			s.fields(o, f.Type, closed)
			continue
		case name == "-":
			continue
		}
		o["properties"].(schema)[name] = s.of(f.Type, closed)
		if options := strings.Split(rest, ","); !slices.Contains(options, "omitempty") && !slices.Contains(options, "omitzero") {
			o["required"] = append(o["required"].([]string), name)
		}
	}
}
