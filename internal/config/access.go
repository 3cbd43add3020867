package config

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
)

// Auth says how people and programs prove who they are. Where it names nobody, whoever reaches the dashboard may look.
type Auth struct {
	Basic  Basic             `key:"basic" help:"people, by name and password"`
	Tokens map[string]Secret `key:"tokens" help:"programs and people by name, each with a secret of 32 characters or more that it sends as a Bearer, or signs in with"`
	Proxy  ProxyAuth         `key:"proxy" help:"people by the word of a proxy in front, which has asked them who they are"`
}

// Basic is a file of names and passwords.
type Basic struct {
	File string `key:"file" null:"true" form:"file" help:"file with a line name:hash for each person, bcrypt with cost 12 to 15, readable for its owner alone; htpasswd -nBC 12 NAME writes one. null: nobody has a password"`
}

// Roles says what those who have a name may. Who is in none of them may nothing.
type Roles struct {
	Viewer   Names       `key:"viewer" help:"looks at everything but payloads, values of headers and the activity log"`
	Operator Names       `key:"operator" help:"viewer, and acts: retry, skip, discard, pause, resume, plans"`
	Admin    Names       `key:"admin" help:"operator, and reads the activity log"`
	Payload  PayloadRole `key:"payload" help:"may have payloads and values of headers shown, on top of another role; no other role includes it"`
}

// Names are people and programs.
type Names struct {
	Names []string `key:"names" help:"names of dashboard.auth"`
}

// PayloadRole is the role payload, which counts for some topics.
type PayloadRole struct {
	Names  []string `key:"names" help:"names of dashboard.auth"`
	Topics []string `key:"topics" help:"topics that it counts for; * = any run of characters"`
}

// DefaultAuth returns the defaults: nobody has a name.
func DefaultAuth() Auth {
	return Auth{Tokens: map[string]Secret{}, Proxy: ProxyAuth{Trusted: []string{}}}
}

// DefaultRoles returns the defaults: nobody is in a role.
func DefaultRoles() Roles {
	none := Names{[]string{}}
	return Roles{Viewer: none, Operator: none, Admin: none, Payload: PayloadRole{Names: []string{}, Topics: []string{"*"}}}
}

// Named says that people or programs have names: then nobody looks without one.
func (a Auth) Named() bool {
	return a.Basic.File != "" || len(a.Tokens) > 0 || a.Proxy.UserHeader != ""
}

var personForm = regexp.MustCompile(`^[\pL\pN._@-]{1,40}$`)

// validateAccess checks names: one that is written wrong would silently give nobody a role.
func (d *decoder) validateAccess() {
	a, r := d.root.Dashboard.Auth, d.root.Dashboard.Roles
	d.validateProxy()
	for _, name := range slices.Sorted(maps.Keys(a.Tokens)) {
		if !personForm.MatchString(name) {
			d.at("dashboard.auth.tokens."+name, "%q is no name here: 1 to 40 letters, digits and . _ @ -", name)
		}
	}
	for role, names := range map[string][]string{"viewer": r.Viewer.Names, "operator": r.Operator.Names, "admin": r.Admin.Names, "payload": r.Payload.Names} {
		for i, name := range names {
			path := "dashboard.roles." + role + ".names[" + strconv.Itoa(i) + "]"
			_, token := a.Tokens[name]
			switch {
			case !personForm.MatchString(name):
				d.at(path, "%q is no name here: 1 to 40 letters, digits and . _ @ -", name)
			case !token && a.Basic.File == "" && a.Proxy.UserHeader == "":
				d.at(path, "there is no %q in dashboard.auth%s", name, didYouMean(name, slices.Sorted(maps.Keys(a.Tokens))))
			}
		}
	}
	for i, topic := range r.Payload.Topics {
		if topic == "" {
			d.at("dashboard.roles.payload.topics["+strconv.Itoa(i)+"]", "is empty: write a topic, or \"*\" for all")
		}
	}
}
