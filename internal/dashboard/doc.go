// Package dashboard serves the pages for the person on call: is anything wrong, since when, and what to do about it. It is an http.Handler over the ports
// relay.Inspector, relay.Operator and relay.Planner; pages are rendered on the server, assets are embedded, nothing is asked of another host, and reading needs no script.
// Below /api/v1 it answers programs with the same readings and acts: JSON in the shapes of internal/view, described by a document that comes from the table of routes.
//
// Every request passes, in this order: size limits, the allow-list of host names, http.CrossOriginProtection, the role of its route. Where nobody has a name of his own
// whoever reaches the listener may look, which is why it is on loopback then, and acts need a session that the token opened, or with the API the token itself.
// With Logins each may what his roles say, and nobody else looks. Payloads and values of headers are behind a role, a row of the activity log and masks.
//
// Absent on purpose: search in payloads, their export, and a cache of them.
package dashboard
