package deploy_test

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// partsFile lists the modules in the program, with their checksums, in the form that scanners of dependencies read (CycloneDX).
const partsFile = "waybill.cdx.json"

type part struct {
	Type    string `json:"type"`
	Ref     string `json:"bom-ref"`
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	PURL    string `json:"purl,omitempty"`
	Hashes  []sum  `json:"hashes,omitempty"`
}

type sum struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type parts struct {
	Format   string `json:"bomFormat"`
	Spec     string `json:"specVersion"`
	Version  int    `json:"version"`
	Metadata struct {
		Component part `json:"component"`
	} `json:"metadata"`
	Components []part `json:"components"`
}

// S19: the list of parts is that of the program as the Dockerfile builds it, each pinned by the checksum of go.sum; UPDATE_DOCS=1 writes it anew.
func TestParts_S19(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}{{end}}{{end}}", "../cmd/waybill")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &said)
	}
	sums, err := os.ReadFile("../go.sum")
	if err != nil {
		t.Fatal(err)
	}
	list := parts{Format: "CycloneDX", Spec: "1.6", Version: 1}
	const program = "github.com/waybillmq/waybill"
	list.Metadata.Component = part{Type: "application", Ref: "pkg:golang/" + program, Name: program}
	lines := slices.DeleteFunc(strings.Split(string(out), "\n"), func(line string) bool { return line == "" })
	slices.Sort(lines)
	for _, line := range slices.Compact(lines) {
		path, version, _ := strings.Cut(line, " ")
		purl := "pkg:golang/" + path + "@" + version
		_, rest, found := strings.Cut(string(sums), "\n"+line+" h1:")
		encoded, _, _ := strings.Cut(rest, "\n")
		digest, err := base64.StdEncoding.DecodeString(encoded)
		if !found || err != nil || len(digest) != 32 {
			t.Fatalf("%s has no checksum in go.sum: %v; run: go mod tidy", line, err)
		}
		list.Components = append(list.Components, part{Type: "library", Ref: purl, Name: path, Version: version, PURL: purl, Hashes: []sum{{"SHA-256", hex.EncodeToString(digest)}}})
	}
	slices.SortFunc(list.Components, func(a, b part) int { return cmp.Compare(a.PURL, b.PURL) })
	if len(list.Components) < 20 {
		t.Fatalf("only %d parts: %s", len(list.Components), out)
	}
	want, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want = append(want, '\n')
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(partsFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if have, err := os.ReadFile(partsFile); err != nil || !bytes.Equal(have, want) {
		t.Errorf("deploy/%s is not the list of the modules in the program; write it with UPDATE_DOCS=1 (%v)", partsFile, err)
	}
}
