package kafka

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The page for users names each request with its versions, and none besides.
func TestPageNamesTheTable(t *testing.T) {
	page, err := os.ReadFile("../../../docs/kafka-port.md")
	must(t, err)
	row := regexp.MustCompile(`(?m)^\| ([A-Z][A-Za-z, ]+) \| ([0-9, -]+) \|`)
	told := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(string(page), -1) {
		names, versions := strings.Split(m[1], ", "), strings.Split(m[2], ", ")
		if len(names) != len(versions) {
			t.Errorf("%d names with %d versions: %s", len(names), len(versions), m[0])
			continue
		}
		for i, name := range names {
			told[name] = versions[i]
		}
	}
	for _, a := range table {
		versions := fmt.Sprintf("%d-%d", a.min, a.max)
		if a.min == a.max {
			versions = fmt.Sprint(a.min)
		}
		if told[a.name] != versions {
			t.Errorf("%s: the page says %q, offered is %s", a.name, told[a.name], versions)
		}
		delete(told, a.name)
	}
	if len(told) > 0 {
		t.Errorf("the page names what is not offered: %v", told)
	}
}
