package migrations

import (
	"embed"
	"fmt"
	"hash/crc32"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
)

//go:embed *.sql bootstrap/*.sql
var files embed.FS

// DefaultSchema is the schema of an outbox unless it is told another one.
const DefaultSchema = "outbox"

// defaultSeed is the seed of the key lock of the default schema, as it stands in the files. Two outboxes of one database must not share key locks.
const defaultSeed = 7240911

// Options say which outbox is meant.
type Options struct {
	// Schema is the schema of the outbox, the prefix of its roles and its NOTIFY channel: 1 to 40 of a-z, 0-9 and _, not beginning with a digit or pg_.
	// Empty means DefaultSchema.
	Schema string
	// SingleRole is for servers on which the migrating login may not create roles: everything belongs to that login, and no role is created or granted to.
	// The relay then runs under the same login; PostgreSQL no longer separates producers, relay and people.
	SingleRole bool
}

var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}$`)

// Validate says what is wrong with the options, in a sentence.
func (o Options) Validate() error {
	if s := o.schema(); !schemaName.MatchString(s) || strings.HasPrefix(s, "pg_") {
		return fmt.Errorf("migrations: schema %q: use 1 to 40 of a-z, 0-9 and _, not beginning with a digit or pg_", s)
	}
	return nil
}

func (o Options) schema() string {
	if o.Schema == "" {
		return DefaultSchema
	}
	return o.Schema
}

// KeyLockSeed returns the seed with which the outbox of that schema hashes its keys into advisory locks; also the class of its activity lock. It fits an int4.
func KeyLockSeed(schema string) int32 {
	if schema == DefaultSchema || schema == "" {
		return defaultSeed
	}
	return int32(crc32.ChecksumIEEE([]byte(schema)) & 0x7fffffff)
}

var (
	// the schema or a role, but not the word that begins an error message
	nameInSQL    = regexp.MustCompile(`\boutbox(_(owner|migrator|producer|relay|viewer|operator|payload|monitor))?\b:?`)
	setRoleInSQL = regexp.MustCompile(`(?m)^SET LOCAL ROLE outbox_owner;$`)
	roleInSQL    = regexp.MustCompile(`\boutbox_(owner|migrator|producer|relay|viewer|operator|payload|monitor)\b`)
	seedInSQL    = regexp.MustCompile(`\b` + strconv.Itoa(defaultSeed) + `\b`)
	publicInSQL  = regexp.MustCompile(`(?m)^ALTER DEFAULT PRIVILEGES .*;\n`)
)

// render makes the SQL of one file into that of the wanted outbox.
func (o Options) render(sql string) string {
	if o.SingleRole {
		sql = setRoleInSQL.ReplaceAllString(sql, "SET LOCAL ROLE NONE;")
		sql = publicInSQL.ReplaceAllString(sql, "") // of a login that also owns other things
		sql = roleInSQL.ReplaceAllStringFunc(sql, func(string) string { return "CURRENT_USER" })
		sql = strings.ReplaceAll(sql, "'CURRENT_USER'", "current_user")
	}
	sql = nameInSQL.ReplaceAllStringFunc(sql, func(name string) string {
		if strings.HasSuffix(name, ":") {
			return name
		}
		return o.schema() + strings.TrimPrefix(name, DefaultSchema)
	})
	return seedInSQL.ReplaceAllString(sql, strconv.Itoa(int(KeyLockSeed(o.schema()))))
}

// file is one migration, rendered.
type file struct {
	version int64
	name    string // 00001_tables.sql
	sql     string
}

// title is the name without number and ending.
func (f file) title() string {
	_, title, _ := strings.Cut(strings.TrimSuffix(f.name, ".sql"), "_")
	return title
}

// load returns the rendered migrations in their order.
func (o Options) load() ([]file, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	all := make([]file, 0, len(names))
	for _, name := range names { // Glob sorts, the numbers have one width
		sql, err := fs.ReadFile(rendered{o}, name)
		if err != nil {
			return nil, err
		}
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("migrations: file %s has no number: %w", name, err)
		}
		all = append(all, file{version: version, name: name, sql: string(sql)})
	}
	return all, nil
}

// bootstrap returns what has to be there before the first migration: roles and schema.
func (o Options) bootstrap() (string, error) {
	names := []string{"bootstrap/roles.sql", "bootstrap/schema.sql"}
	if o.SingleRole {
		names = names[1:]
	}
	var b strings.Builder
	for _, name := range names {
		sql, err := files.ReadFile(name)
		if err != nil {
			return "", err
		}
		b.WriteString(o.render(string(sql)))
	}
	return b.String(), nil
}
