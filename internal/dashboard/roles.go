package dashboard

import "strings"

// Role is what a name of Logins may. Roles add up.
type Role string

// The roles of people and programs.
const (
	RoleViewer   Role = "viewer"   // looks
	RoleOperator Role = "operator" // viewer, and acts
	RoleAdmin    Role = "admin"    // operator, and reads the activity log
	RolePayload  Role = "payload"  // has payloads shown; no other role includes it, nor it another
)

// role is what a route asks for. The zero role lets nobody in: a route that forgets to say is closed.
type role int

const (
	closed   role = iota
	anybody       // whoever reaches the listener
	signed        // whoever has signed in, whatever he may
	viewer        // where nobody has a name of his own: whoever reaches the listener
	operator      // RoleOperator, or the token
	admin         // RoleAdmin, or the token
	payload       // RolePayload
)

// roleNames are what people are told that they lack.
var roleNames = map[role]Role{viewer: RoleViewer, operator: RoleOperator, admin: RoleAdmin, payload: RolePayload}

// person is who asks. The zero person has not proved anything.
type person struct {
	in    bool   // has proved to be somebody
	token bool   // holds the token, which has no name
	name  string // of a login; of the token's holder what he says, perhaps nothing
	may   map[role]bool

	proxied bool // a proxy says so
}

// holder is who has the token: all that there was before people had names, and no payload.
func holder(name string) person {
	return person{in: true, token: true, name: name, may: rightsOf(RoleAdmin)}
}

// rightsOf says what routes open to roles.
func rightsOf(roles ...Role) map[role]bool {
	may := map[role]bool{}
	for _, r := range roles {
		switch r {
		case RoleAdmin:
			may[admin], may[operator], may[viewer] = true, true, true
		case RoleOperator:
			may[operator], may[viewer] = true, true
		case RoleViewer:
			may[viewer] = true
		case RolePayload:
			may[payload] = true
		}
	}
	return may
}

// lets says whether somebody may use routes of a role.
func (d *Dashboard) lets(p person, r role) bool {
	switch r {
	case anybody:
		return true
	case signed:
		return p.in
	case viewer:
		return d.Logins == nil || p.may[viewer]
	}
	return p.may[r]
}

// roles are the names of what somebody may, for people.
func (p person) roles() string {
	var names []string
	for _, r := range []role{admin, operator, viewer} {
		if p.may[r] {
			names = append(names, string(roleNames[r]))
			break // it includes the others
		}
	}
	if p.may[payload] {
		names = append(names, string(RolePayload))
	}
	if names == nil {
		return "no role"
	}
	return strings.Join(names, " and ")
}

// actor is who acts, for the activity log. Where people have names, what the holder of the token calls himself cannot be taken for one of them: no name has a blank.
func (d *Dashboard) actor(p person, via string) string {
	switch {
	case p.name == "" || !p.in:
		return via + ":token"
	case p.token && d.Logins != nil:
		return via + ":" + p.name + " (token)"
	}
	return via + ":" + p.name
}
