package view

import (
	"encoding/json"
	"io"
)

// version of all shapes. A field that is new does not raise it; one that changes its meaning, or goes, does.
const version = 1

// List is the form of every list.
type List struct {
	Kind    string `json:"kind"` // MessageList
	Version int    `json:"version"`
	Items   []any  `json:"items"`
	Next    string `json:"next,omitempty"` // where the next page begins; empty = this is the end
	Capped  bool   `json:"capped"`         // there is more
}

// Item is the form of every single thing.
type Item struct {
	Kind    string `json:"kind"` // Message
	Version int    `json:"version"`
	Item    any    `json:"item"`
}

// OfList puts items into a list; next is where the following page begins.
func OfList(kind string, items []any, next string, capped bool) List {
	if items == nil {
		items = []any{}
	}
	return List{kind, version, items, next, capped}
}

// Listed is a list of what each makes of rows.
func Listed[R, V any](kind string, rows []R, next string, capped bool, each func(R) V) List {
	items := make([]any, len(rows))
	for i, r := range rows {
		items[i] = each(r)
	}
	return OfList(kind, items, next, capped)
}

// OfItem puts one thing into its form.
func OfItem(kind string, item any) Item { return Item{kind, version, item} }

// Encode writes v as indented JSON with a line end. Characters of HTML stay as they are: no answer is ever taken for a page.
func Encode(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
