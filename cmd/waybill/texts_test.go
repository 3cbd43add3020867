package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// A command as a text names it: behind something that begins a quotation or a sentence's instruction, up to what ends it.
var (
	namedCommand = regexp.MustCompile("(?m)(?:[`$:;|(\"']\\s*|^\\s*(?://|--|#)?\\s*|\\b(?:or|run|ask|by|than|until) )waybill((?: [a-z][a-z|-]*)+)([^`\"'\\n);|\\\\%]*)")
	namedFlag    = regexp.MustCompile(`--([a-z][a-z-]*)`)
)

// Every command and every flag that a message, a comment, a page or an example names exists.
func TestNamedCommandsExist(t *testing.T) {
	root := (&program{}).root()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	seen := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if name := e.Name(); name == "testdata" || strings.HasPrefix(name, ".") && strings.Trim(name, ".") != "" {
				return filepath.SkipDir
			}
			return nil
		}
		if !slices.Contains([]string{".go", ".md", ".sql", ".yaml"}, filepath.Ext(path)) || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range namedCommand.FindAllSubmatch(text, -1) {
			named := string(m[1])
			for _, c := range resolve(t, root, path, strings.Fields(named)) {
				seen[c.CommandPath()] = true
				for _, f := range namedFlag.FindAllStringSubmatch(string(m[2]), -1) {
					if c.Flag(f[1]) == nil && c.InheritedFlags().Lookup(f[1]) == nil && f[1] != "help" {
						t.Errorf("%s: waybill%s%s: there is no --%s", path, named, m[2], f[1])
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, must := range []string{"waybill adopt", "waybill destination adopt", "waybill migrate up", "waybill message retry"} {
		if !seen[must] {
			t.Errorf("%s is named nowhere: the test does not see the texts", must)
		}
	}
}

// resolve follows the words of a text; a|b are alternatives.
func resolve(t *testing.T, root *cobra.Command, path string, words []string) []*cobra.Command {
	t.Helper()
	at := []*cobra.Command{root}
	for _, word := range words {
		if word == "as" { // "run waybill as an ordinary user"
			return nil
		}
		if !at[0].HasAvailableSubCommands() {
			break // what follows is an argument or the rest of the sentence
		}
		var next []*cobra.Command
		for _, name := range strings.Split(strings.Trim(word, "|"), "|") {
			i := slices.IndexFunc(at[0].Commands(), func(c *cobra.Command) bool { return c.Name() == name })
			if i < 0 {
				t.Errorf("%s: waybill %s: there is no command %s", path, strings.Join(words, " "), word)
				return nil
			}
			next = append(next, at[0].Commands()[i])
		}
		at = next
	}
	return at
}
