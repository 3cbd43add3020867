package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"go.yaml.in/yaml/v3"

	"github.com/waybillmq/waybill/internal/view"
)

var formats = []string{"table", "wide", "json", "yaml", "ndjson", "csv", "id"}

func (p *program) checkOutput() error {
	if !slices.Contains(formats, p.output) {
		return usage(fmt.Sprintf("--output %s: there are %s", p.output, strings.Join(formats, ", ")))
	}
	return nil
}

// table is a list for people and, with its items, for programs.
type table struct {
	kind    string // MessageList
	columns []string
	wide    int        // so many columns at the end are for `wide` only
	rows    [][]string // one cell for each column
	items   []any      // what JSON shows for each row
	ids     []string   // what `-o id` prints
	next    string     // where the next page begins; empty = this is the end
	capped  bool       // there is more
}

func (p *program) printTable(t table) error {
	switch p.output {
	case "json", "yaml":
		return p.encode(view.OfList(t.kind, t.items, t.next, t.capped))
	case "ndjson":
		for _, item := range t.items {
			if err := p.line(item); err != nil {
				return err
			}
		}
		return nil
	case "id":
		for _, id := range t.ids {
			fmt.Fprintln(p.out, id)
		}
		return nil
	}
	show, err := p.chosen(t)
	if err != nil {
		return err
	}
	if p.output == "csv" {
		return p.printCSV(t, show)
	}
	p.printColumns(t, show)
	return nil
}

// chosen returns the indexes of the columns to show.
func (p *program) chosen(t table) ([]int, error) {
	var show []int
	for _, name := range p.columns {
		i := slices.Index(t.columns, strings.ToUpper(name))
		if i < 0 {
			return nil, usage(fmt.Sprintf("--columns %s: there are %s", name, strings.ToLower(strings.Join(t.columns, ","))))
		}
		show = append(show, i)
	}
	if show != nil {
		return show, nil
	}
	n := len(t.columns)
	if p.output == "table" {
		n -= t.wide
	}
	for i := range n {
		show = append(show, i)
	}
	return show, nil
}

func (p *program) printColumns(t table, show []int) {
	w := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	line := func(cells []string) {
		for n, i := range show {
			if n > 0 {
				io.WriteString(w, "\t")
			}
			io.WriteString(w, clean(cells[i]))
		}
		io.WriteString(w, "\n")
	}
	if !p.noHeader {
		line(t.columns)
	}
	for _, r := range t.rows {
		line(r)
	}
	w.Flush()
	if t.next != "" {
		p.note("there is more: add --before %s", t.next)
	}
}

func (p *program) printCSV(t table, show []int) error {
	w := csv.NewWriter(p.out)
	line := func(cells []string) error {
		out := make([]string, len(show))
		for n, i := range show {
			out[n] = neutral(cells[i])
		}
		return w.Write(out)
	}
	if !p.noHeader {
		if err := line(t.columns); err != nil {
			return err
		}
	}
	for _, r := range t.rows {
		if err := line(r); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// printItem prints one thing: as program output, as its id, or as the text that human writes.
func (p *program) printItem(kind string, item any, id string, human func(w io.Writer)) error {
	switch p.output {
	case "json", "yaml":
		return p.encode(view.OfItem(kind, item))
	case "ndjson":
		return p.line(item)
	case "id":
		fmt.Fprintln(p.out, id)
		return nil
	case "csv":
		return usage("--output csv is for lists")
	}
	human(p.out)
	return nil
}

func (p *program) line(v any) error {
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func (p *program) encode(v any) error {
	var b bytes.Buffer
	if err := view.Encode(&b, v); err != nil {
		return err
	}
	if p.output == "json" {
		_, err := b.WriteTo(p.out)
		return err
	}
	var n yaml.Node // JSON is YAML: so the order of the keys is kept, and text stays text
	if err := yaml.Unmarshal(b.Bytes(), &n); err != nil {
		return err
	}
	block(&n)
	y := yaml.NewEncoder(p.out)
	y.SetIndent(2)
	if err := y.Encode(&n); err != nil {
		return err
	}
	return y.Close()
}

func block(n *yaml.Node) {
	switch {
	case len(n.Content) > 0:
		n.Style &^= yaml.FlowStyle
	case n.Kind == yaml.ScalarNode: // the tag stays: text that looks like a number is quoted
		n.Style = 0
	}
	for _, c := range n.Content {
		block(c)
	}
}

// clean makes what came from outside harmless on a terminal: control characters are shown, not obeyed.
func clean(s string) string {
	if strings.IndexFunc(s, unprintable) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if unprintable(r) {
			b.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unprintable(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }

// neutral keeps a spreadsheet from taking a cell for a formula.
func neutral(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		return "'" + cell
	}
	return cell
}
