package config

import (
	"net"
	"regexp"
	"strconv"
	"strings"
)

var (
	nameForm   = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)
	schemaForm = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}$`)
)

// checkForm says what is wrong with a text of a named form; "" = nothing.
func checkForm(form, s string) string {
	switch form {
	case "name":
		if !nameForm.MatchString(s) {
			return strconv.Quote(s) + " is no name here: 1 to 40 of a-z, 0-9 and -"
		}
	case "schema":
		if !schemaForm.MatchString(s) {
			return strconv.Quote(s) + " is no schema name here: 1 to 40 of a-z, 0-9 and _, not beginning with a digit"
		}
	case "path":
		if !strings.HasPrefix(s, "/") || strings.ContainsAny(s, "?# {}") {
			return strconv.Quote(s) + " is no path: it begins with / and has no query"
		}
	case "replace":
		if _, ok := Replacements(s); !ok {
			return strconv.Quote(s) + " is no list of pairs: \".=_\" replaces dots by underscores, \".=_,/=-\" slashes too"
		}
	case "address":
		return checkAddress(s)
	case "file":
		if s == "" {
			return "is empty: name a file"
		}
	case "origin":
		return checkOrigin(s)
	}
	return ""
}

// Replacements reads a topic_replace: old, new, old, new, …
func Replacements(s string) (pairs []string, ok bool) {
	if s == "" {
		return nil, true
	}
	for pair := range strings.SplitSeq(s, ",") {
		from, to, found := strings.Cut(pair, "=")
		if !found || from == "" {
			return nil, false
		}
		pairs = append(pairs, from, to)
	}
	return pairs, true
}

func checkAddress(s string) string {
	_, port, err := net.SplitHostPort(s)
	if err == nil {
		var n int
		if n, err = strconv.Atoi(port); err == nil && n >= 0 && n <= 65535 {
			return ""
		}
	}
	return strconv.Quote(s) + " is no address: write host:port"
}
