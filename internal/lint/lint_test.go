package lint

import (
	"io/fs"
	"maps"
	"os"
	"strings"
	"testing"
	"testing/fstest"
)

func TestRepositoryKeepsItsArchitecture(t *testing.T) {
	tree, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Packages) < 5 {
		t.Fatalf("only %d packages were read", len(tree.Packages))
	}
	for _, problem := range Check(tree) {
		t.Error(problem)
	}
}

// good is a small repository that keeps every rule.
func good() fstest.MapFS {
	mod := "module example.com/m\n\ngo 1.26\n\ntool (\n\tgolang.org/x/perf/cmd/benchstat\n)\n\nrequire (\n"
	for _, d := range dependencies {
		mod += "\t" + d.Module + " v1.0.0\n"
	}
	mod += "\tgolang.org/x/text v0.1.0 // indirect\n)\n"
	files := map[string]string{
		"go.mod":                       mod,
		".gitignore":                   "/out/\n*.prof\n",
		"README.md":                    "",
		"cpu.prof":                     "",
		"out/x.go":                     "package x",
		"cmd/waybill/main.go":          "// Waybill is the program.\npackage main\nimport (\n\"example.com/m/internal/app\"\n\"github.com/spf13/cobra\"\n)\n",
		"internal/app/app.go":          "// Package app builds everything.\npackage app\nimport (\n\"example.com/m/relay\"\n\"example.com/m/adapters/kafka\"\n)\n",
		"outbox/outbox.go":             "// Package outbox writes.\npackage outbox\nimport \"context\"\n",
		"outbox/outbox_test.go":        "package outbox_test\nimport (\n\"testing\"\n\"github.com/jackc/pgx/v5\"\n\"example.com/m/internal/testservices\"\n)\n",
		"outbox/testdata/bad/bad.go":   "package util\nimport \"example.com/m/cmd\"\n",
		"relay/relay.go":               "// Package relay delivers.\npackage relay\nimport (\n\"example.com/m/outbox\"\n\"example.com/m/internal/kp\"\n)\n",
		"relay/relaytest/suite_x.go":   "// Package relaytest proves.\npackage relaytest\nimport (\n\"testing\"\n\"example.com/m/relay\"\n)\n" + strings.Repeat("\n", 500),
		"relay/long_test.go":           "package relay\n" + strings.Repeat("\n", 500),
		"adapters/kafka/kafka.go":      "// Package kafka publishes.\npackage kafka\nimport (\n\"example.com/m/relay\"\n\"github.com/segmentio/kafka-go\"\n)\n",
		"internal/kp/kp.go":            "// Package kp names points.\npackage kp\n",
		"internal/testservices/one.go": "// Package testservices starts.\npackage testservices\nimport (\n\"testing\"\n\"github.com/jackc/pgx/v5\"\n)\n",
		"internal/checker/run.go":      "// Package checker runs.\npackage checker\nimport (\n\"example.com/m/internal/testservices\"\n\"example.com/m/internal/app\"\n)\n",
	}
	tree := fstest.MapFS{}
	for name, text := range files {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return tree
}

func check(t *testing.T, root fs.FS) []string {
	t.Helper()
	tree, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	return Check(tree)
}

func TestGoodRepositoryHasNoProblem(t *testing.T) {
	for _, problem := range check(t, good()) {
		t.Error(problem)
	}
}

// Each row breaks one rule in one way; exactly that problem must be found.
func TestEveryRuleCanFail(t *testing.T) {
	imports := func(pkg string, paths ...string) string {
		return "// Package " + pkg + " x.\npackage " + pkg + "\nimport (\n\"" + strings.Join(paths, "\"\n\"") + "\"\n)\n"
	}
	for _, c := range []struct{ file, text, want string }{ // text "@old=new" edits the file
		{"relay/bad.go", imports("relay", "example.com/m/adapters/kafka"), "relay must not import adapters/kafka"},
		{"relay/bad.go", imports("relay", "example.com/m/relay/relaytest"), "relay must not import relay/relaytest"},
		{"outbox/bad.go", imports("outbox", "example.com/m/internal/kp"), "outbox must not import internal/kp"},
		{"adapters/kafka/bad.go", imports("kafka", "example.com/m/internal/config"), "adapters/kafka must not import internal/config"},
		{"adapters/kafka/bad.go", imports("kafka", "example.com/m/internal/broker"), "adapters/kafka must not import internal/broker"},
		{"internal/broker/b.go", imports("broker", "example.com/m/relay"), "internal/broker must not import relay"},
		{"internal/app/bad.go", imports("app", "example.com/m/internal/testservices"), "internal/app must not import internal/testservices"},
		{"internal/app/bad.go", imports("app", "example.com/m/cmd/waybill"), "internal/app must not import cmd/waybill"},
		{"cmd/waybill/bad.go", imports("main", "example.com/m/adapters/kafka"), "cmd/waybill must not import adapters/kafka"},
		{"internal/app/bad.go", imports("app", "testing"), "internal/app must not import testing"},
		{"internal/stranger/s.go", imports("stranger", "context"), "internal/stranger has no line in the import table"},

		{"outbox/bad.go", imports("outbox", "github.com/jackc/pgx/v5"), "outbox/bad.go imports github.com/jackc/pgx/v5: this package uses the standard library only"},
		{"outbox/outboxtest/bad.go", imports("outboxtest", "github.com/jackc/pgx/v5"), "uses the standard library only"},
		{"relay/bad.go", imports("relay", "github.com/jackc/pgx/v5/pgxpool"), "relay/bad.go must not import github.com/jackc/pgx/v5/pgxpool: that stays in"},
		{"adapters/kafka/bad.go", imports("kafka", "github.com/twmb/franz-go/pkg/kmsg"), "adapters/kafka/bad.go must not import github.com/twmb/franz-go/pkg/kmsg"},
		{"relay/bad_test.go", imports("relay", "golang.org/x/text/unicode"), "imports golang.org/x/text/unicode, which is not in the list"},

		{"go.mod", "@github.com/go-co-op/gocron/v2 v1.0.0\n=\n", "the list of dependencies has github.com/go-co-op/gocron/v2, go.mod does not"},
		{"go.mod", "@ // indirect\n=\n", "go.mod requires golang.org/x/text, which is not in the list"},
		{"go.mod", "@golang.org/x/perf/cmd/benchstat=example.org/tool", "tool example.org/tool is not in the list"},

		{"internal/kp/kp.go", "package kp\n", "package internal/kp has no comment directly above"},
		{"internal/kp/kp.go", "// Package kp names points.\n\npackage kp\n", "package internal/kp has no comment directly above"},
		{"relay/util/x.go", imports("util", "context"), "package relay/util: the name util says nothing"},
		{"relay/words/x.go", imports("common", "context"), "package relay/words: the name common says nothing"},
		{"scratch/notes.txt", "", "scratch does not belong in the root folder"},
		{"relay/bad.go", imports("relay", "context") + strings.Repeat("\n", 400), "relay/bad.go has 405 lines, more than 400"},
		{"relay/suite.go", imports("relay", "context") + strings.Repeat("\n", 400), "relay/suite.go has 405 lines"},
	} {
		root := maps.Clone(good())
		text := c.text
		if edit, ok := strings.CutPrefix(c.text, "@"); ok {
			old, replacement, _ := strings.Cut(edit, "=")
			text = strings.Replace(string(root[c.file].Data), old, replacement, 1)
		}
		root[c.file] = &fstest.MapFile{Data: []byte(text)}
		problems := check(t, root)
		if len(problems) != 1 || !strings.Contains(problems[0], c.want) {
			t.Errorf("%s, want the one problem %q, got %q", c.file, c.want, problems)
		}
	}
}

func TestSourcesThatCannotBeRead(t *testing.T) {
	for file, text := range map[string]string{"relay/bad.go": "package", "go.mod": "module\n"} {
		root := good()
		root[file] = &fstest.MapFile{Data: []byte(text)}
		if _, err := Load(root); err == nil {
			t.Errorf("%s = %q was read", file, text)
		}
	}
	if _, err := Load(fstest.MapFS{"go.mod": {Data: []byte("go 1.26\n")}}); err == nil {
		t.Error("a go.mod without a module was read")
	}
}

func TestEveryDependencyHasAReason(t *testing.T) {
	for _, d := range dependencies {
		if len(d.Reason) < 10 {
			t.Errorf("%s: reason %q", d.Module, d.Reason)
		}
	}
}
