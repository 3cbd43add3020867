package config

import (
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Dashboard configures the pages for the person on call.
type Dashboard struct {
	Listen       OrNone[string] `key:"listen" form:"address" restart:"true" help:"address of the pages. One that is not loopback needs names in auth, and tls or a proxy in front. none: no dashboard"`
	AllowedHosts []string       `key:"allowed_hosts" restart:"true" help:"host names under which browsers may ask for it, besides localhost and the loopback addresses; for a proxy on this machine. All others get 421"`
	PublicURL    string         `key:"public_url" null:"true" form:"origin" restart:"true" help:"address under which people reach the pages, such as a proxy's: links in alerts begin with it, and its host is allowed. null: http:// and the listen address"`
	ReadOnly     bool           `key:"read_only" restart:"true" help:"nobody can act here, whatever token they have"`
	TLS          ServerTLS      `key:"tls" restart:"true" help:"the pages by https; 1.2 or newer"`
	TokenFile    OrNone[string] `key:"token_file" form:"file" restart:"true" help:"file with the token that acts need, readable for its owner alone; made at the first start. none: nobody has it"`
	PayloadURL   Secret         `key:"payload_url" null:"true" restart:"true" help:"postgres://… with a login of its own that has role <schema>_payload, for showing payloads. null: database.url, whose login then needs that role"`
	Auth         Auth           `key:"auth" restart:"true" help:"who has a name of his own; with one or more names nobody looks without signing in"`
	Roles        Roles          `key:"roles" restart:"true" help:"what those names may; whoever is in no role may nothing"`
}

// DefaultDashboard returns the defaults of the dashboard.
func DefaultDashboard() Dashboard {
	return Dashboard{Listen: Some("127.0.0.1:8088"), AllowedHosts: []string{}, TokenFile: Some("/var/lib/waybill/dashboard.token"),
		Auth: DefaultAuth(), Roles: DefaultRoles()}
}

// ServerTLS is what a listener shows to those who connect.
type ServerTLS struct {
	Cert string `key:"cert" null:"true" form:"file" help:"PEM file of the certificate, with those that it rests on; read again within a minute when it has changed. null: http"`
	Key  string `key:"key" null:"true" form:"file" help:"PEM file of its key"`
}

// validateListen refuses an address that others reach where nobody is asked who he is, or where passwords and payloads would go in plain text.
func (d *decoder) validateListen() {
	c := d.root.Dashboard
	switch {
	case c.TLS.Cert != "" && c.TLS.Key == "":
		d.at("dashboard.tls.key", "is missing: cert stands alone")
	case c.TLS.Key != "" && c.TLS.Cert == "":
		d.at("dashboard.tls.cert", "is missing: key stands alone")
	}
	listen, ok := c.Listen.Get()
	if !ok || checkAddress(listen) != "" || isLoopback(listen) || c.Auth.Named() && (c.TLS.Cert != "" || c.Auth.Proxy.UserHeader != "" && len(c.Auth.Proxy.Trusted) > 0) {
		return
	}
	d.at("dashboard.listen", "%q is not a loopback address: whoever reaches the dashboard may look. Give people names in dashboard.auth, and dashboard.tls a certificate, or name the proxy in front in dashboard.auth.proxy; or listen on 127.0.0.1 and use"+
		" a tunnel (ssh -L, kubectl port-forward), or a proxy with a login on this machine", listen)
}

func isLoopback(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// validateDashboard checks the names of hosts: a port or a pattern in one would silently match nothing.
func (d *decoder) validateDashboard() {
	d.validateListen()
	d.validateAccess()
	for i, h := range d.root.Dashboard.AllowedHosts {
		if h == "" || strings.ContainsAny(h, "*:/ ") {
			d.at("dashboard.allowed_hosts["+strconv.Itoa(i)+"]", "%q is no host name: write it without scheme, port and *", h)
		}
	}
}
