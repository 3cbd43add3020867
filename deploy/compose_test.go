package deploy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/testservices"
)

func TestMain(m *testing.M) { testservices.Main(m) }

const root = ".."

// ours is the image that deploy/Dockerfile makes.
const ours = "waybill:local"

// load reads docker-compose.yml as docker compose does: schema, interpolation, references.
func load(t *testing.T, profiles ...string) *types.Project {
	t.Helper()
	o, err := cli.NewProjectOptions([]string{filepath.Join(root, "docker-compose.yml")}, cli.WithProfiles(profiles), cli.WithResolvedPaths(true))
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestComposeFile(t *testing.T) {
	for _, c := range []struct{ profiles, services []string }{
		{nil, []string{"migrate", "postgres", "shop", "waybill"}},
		{[]string{"kafka"}, []string{"kafka", "kafka-migrate", "kafka-relay", "kafka-shop", "kafka-standby", "kafka-topics", "migrate", "postgres", "shop", "waybill"}},
	} {
		p := load(t, c.profiles...)
		if got := p.ServiceNames(); !slices.Equal(got, c.services) {
			t.Errorf("profiles %v start %v", c.profiles, got)
		}
		for name, s := range p.Services {
			for _, port := range s.Ports {
				if port.HostIP != "127.0.0.1" {
					t.Errorf("%s: port %s is open to the network", name, port.Published)
				}
			}
			for _, v := range s.Volumes {
				if v.Type == types.VolumeTypeBind && !there(v.Source) {
					t.Errorf("%s mounts %s, which is not there", name, v.Source)
				}
			}
			if s.Image != ours {
				continue
			}
			if !s.ReadOnly || s.Privileged || s.User != "" || !slices.Equal(s.CapDrop, []string{"ALL"}) {
				t.Errorf("%s has more rights than it needs", name)
			}
			if s.Build == nil || !there(filepath.Join(s.Build.Context, s.Build.Dockerfile)) {
				t.Errorf("%s cannot be built", name)
			}
		}
	}
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// The configurations are good, and have nothing that a variable of the file must give but the database.
func TestComposeConfigurations(t *testing.T) {
	for _, file := range configurations(t) {
		if _, err := config.Load(config.Options{Path: file, Environ: []string{"WAYBILL_DATABASE__URL=postgres://u@h/d"}, Strict: true}); err != nil {
			t.Error(err)
		}
	}
}

func configurations(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("compose/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	return files
}

// dockerfile returns the instructions of the last stage, and the line that builds the program.
func dockerfile(t *testing.T) (last []string, build string) {
	t.Helper()
	text, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "FROM "):
			last = nil
		case strings.Contains(line, "go build"):
			build = strings.TrimPrefix(line, "RUN ")
		}
		last = append(last, line)
	}
	return last, build
}

func TestDockerfile(t *testing.T) {
	last, build := dockerfile(t)
	all := strings.Join(last, "\n")
	for _, want := range []string{`(?m)^FROM scratch$`, `(?m)^USER [1-9]\d*:[1-9]\d*$`, `(?m)^ENTRYPOINT \["/waybill"\]$`, `(?m)^CMD \["run"\]$`, `(?m)^VOLUME /var/lib/waybill$`, `HEALTHCHECK .* CMD \["/waybill", "health", "live"\]`} {
		if !regexp.MustCompile(want).MatchString(all) {
			t.Errorf("the last stage lacks %s", want)
		}
	}
	if regexp.MustCompile(`(?m)^RUN `).MatchString(all) {
		t.Error("the last stage has no shell to run anything")
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(mod))[1]
	text, err := os.ReadFile("Dockerfile")
	if err != nil || !strings.Contains(string(text), fmt.Sprintf("FROM golang:%s AS build", version)) {
		t.Errorf("the image builds with another Go than %s, %v", version, err)
	}
	if !strings.HasPrefix(build, "CGO_ENABLED=0 go build -trimpath ") {
		t.Errorf("the program is built by %q", build)
	}
}
