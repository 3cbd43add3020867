package config

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ProxyAuth names a proxy that has asked people who they are, and says so in headers.
type ProxyAuth struct {
	UserHeader string   `key:"user_header" null:"true" help:"header in which a proxy says the name of who asks. null: no proxy is believed"`
	RoleHeader string   `key:"role_header" null:"true" help:"header in which it says viewer, operator or admin, several with commas; never payload. null: dashboard.roles says what names may"`
	Trusted    []string `key:"trusted" help:"addresses of the proxy, such as 10.0.0.7 or 10.0.7.0/28, that nobody else has. From any other address a request with those headers is refused"`
}

var headerForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,59}$`)

// takenHeaders have a meaning already, which would become somebody's name.
var takenHeaders = []string{"accept", "authorization", "connection", "content-length", "content-type", "cookie", "host", "idempotency-key", "last-event-id", "origin", "referer", "user-agent", "waybill-actor"}

// ParseTrusted reads an address or a range of them. Everybody is no range.
func ParseTrusted(s string) (netip.Prefix, bool) {
	if at, err := netip.ParseAddr(s); err == nil && at.Zone() == "" {
		at = at.Unmap()
		return netip.PrefixFrom(at, at.BitLen()), true
	}
	of, err := netip.ParsePrefix(s)
	if err != nil || of.Bits() == 0 || of.Addr().Is4In6() {
		return netip.Prefix{}, false
	}
	return of.Masked(), true
}

func (d *decoder) validateProxy() {
	const at = "dashboard.auth.proxy"
	p := d.root.Dashboard.Auth.Proxy
	if p.UserHeader == "" {
		if p.RoleHeader != "" || len(p.Trusted) > 0 {
			d.at(at+".user_header", "is missing: without it the other keys of proxy are not used")
		}
		return
	}
	for _, h := range []struct{ key, name string }{{"user_header", p.UserHeader}, {"role_header", p.RoleHeader}} {
		name := strings.ToLower(h.name)
		if h.name != "" && (!headerForm.MatchString(h.name) || slices.Contains(takenHeaders, name) || strings.HasPrefix(name, "sec-") || strings.HasPrefix(name, "if-")) {
			d.at(at+"."+h.key, "%q is no header for this: take one that the proxy sets and nobody else uses, such as X-Forwarded-User", h.name)
		}
	}
	if strings.EqualFold(p.UserHeader, p.RoleHeader) {
		d.at(at+".role_header", "is the same as user_header: a name is no role")
	}
	if len(p.Trusted) == 0 {
		d.at(at+".trusted", "is empty: whoever sends the header would be believed. Name the addresses of the proxy")
	}
	for i, s := range p.Trusted {
		of, ok := ParseTrusted(s)
		switch path := at + ".trusted[" + strconv.Itoa(i) + "]"; {
		case !ok:
			d.at(path, "%q is no address of a proxy: write 10.0.0.7, or a range of its own such as 10.0.7.0/28", s)
		case of.Overlaps(netip.MustParsePrefix("127.0.0.0/8")) || of.Contains(netip.IPv6Loopback()):
			d.warn(path, "every process of this machine can say that it is anybody: only where no other account and no other service of it is to be kept out")
		}
	}
}
