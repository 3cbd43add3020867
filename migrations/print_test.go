package migrations

import (
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/waybillmq/waybill/internal/testservices"
)

// volatile are the lines of a dump that differ each time.
var volatile = regexp.MustCompile(`(?m)^(\\(un)?restrict .*|--.*|)\n`)

// dump returns the schema of the outbox as pg_dump writes it.
func dump(t *testing.T, major int, url string, exclude ...string) string {
	t.Helper()
	args := []string{"--schema-only", "--schema=outbox", "--dbname=" + url}
	for _, table := range exclude {
		args = append(args, "--exclude-table="+table)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(testservices.PostgresBin(t, major), "pg_dump"), args...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	return volatile.ReplaceAllString(string(out), "")
}

func TestPrintedFilesLeaveTheSameSchema(t *testing.T) {
	for name, major := range map[string]int{"PostgreSQL 15": 15, "PostgreSQL 18": 18} {
		t.Run(name, func(t *testing.T) {
			pg := testservices.Postgres(t, major)
			up(t, pg.URL, Options{})
			want, bare := dump(t, major, pg.URL), dump(t, major, pg.URL, "outbox.migrations*")
			if !strings.Contains(want, "message_held_head") {
				t.Fatalf("no dump: %s", want)
			}
			same := func(t *testing.T, got, want string) {
				t.Helper()
				if got != want {
					t.Errorf("the dump differs:\n%s", firstDifference(got, want))
				}
			}

			t.Run("plain, by psql", func(t *testing.T) {
				pg := testservices.Postgres(t, major)
				var script strings.Builder
				if err := Print(&script, Plain, Options{}); err != nil {
					t.Fatal(err)
				}
				file := filepath.Join(t.TempDir(), "outbox.sql")
				if err := os.WriteFile(file, []byte(script.String()), 0o600); err != nil {
					t.Fatal(err)
				}
				psql := exec.CommandContext(t.Context(), filepath.Join(testservices.PostgresBin(t, major), "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", file, pg.URL)
				if out, err := psql.CombinedOutput(); err != nil {
					t.Fatalf("psql: %v: %s", err, out)
				}
				same(t, dump(t, major, pg.URL), want)
				if n := len(up(t, pg.URL, Options{})); n != 0 {
					t.Errorf("up after the script applied %d migrations", n)
				}
			})

			t.Run("goose", func(t *testing.T) {
				pg := testservices.Postgres(t, major)
				printed, err := Files(Goose, Options{})
				if err != nil {
					t.Fatal(err)
				}
				folder := fstest.MapFS{}
				for _, f := range printed {
					folder[f.Name] = &fstest.MapFile{Data: []byte(f.SQL)}
				}
				db, err := sql.Open("pgx", pg.URL)
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				p, err := goose.NewProvider(goose.DialectPostgres, db, folder, goose.WithDisableGlobalRegistry(true))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := p.Up(t.Context()); err != nil {
					t.Fatal(err)
				}
				same(t, dump(t, major, pg.URL), bare)
				if _, err := p.DownTo(t.Context(), 0); err != nil {
					t.Fatal(err)
				}
			})

			// These tools send a file as one string inside a transaction and then write their own table in it.
			for _, format := range []Format{GolangMigrate, Flyway, Liquibase} {
				t.Run(string(format), func(t *testing.T) {
					pg := testservices.Postgres(t, major)
					conn := connect(t, pg.URL)
					apply := func(sql string) {
						t.Helper()
						do(t, conn, "BEGIN;\n"+sql+"INSERT INTO applied DEFAULT VALUES; COMMIT")
					}
					do(t, conn, "CREATE TABLE applied (at timestamptz DEFAULT now())")
					printed, err := Files(format, Options{})
					if err != nil {
						t.Fatal(err)
					}
					var downs []string
					for _, f := range printed {
						if strings.HasSuffix(f.Name, ".down.sql") {
							downs = append([]string{f.SQL}, downs...)
							continue
						}
						for _, part := range strings.Split(f.SQL, "\n--changeset ") {
							if strings.HasPrefix(part, "--liquibase") {
								continue
							}
							if format == Liquibase {
								_, part, _ = strings.Cut(part, "\n")
							}
							apply(part)
						}
					}
					same(t, dump(t, major, pg.URL), bare)
					for _, sql := range downs {
						apply(sql)
					}
					if n := ask[int](t, conn, "SELECT count(*)::int FROM pg_class WHERE relnamespace = 'outbox'::regnamespace"); format == GolangMigrate && n != 0 {
						t.Errorf("down left %d relations", n)
					}
				})
			}
		})
	}
}

func firstDifference(got, want string) string {
	g, w := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(g), len(w)) {
		if g[i] != w[i] {
			return "got  " + g[i] + "\nwant " + w[i]
		}
	}
	return "one is longer"
}

func TestUnknownFormat(t *testing.T) {
	if _, err := Files("sqlite", Options{}); err == nil || !strings.Contains(err.Error(), "golang-migrate") {
		t.Errorf("error %v does not name the formats", err)
	}
}
