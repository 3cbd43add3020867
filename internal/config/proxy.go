package config

import (
	"fmt"
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
	Trusted    []string `key:"trusted" help:"addresses of the proxy, such as 10.0.0.7 or 10.0.7.0/28, that nobody else has, /16 at the widest (IPv6: /48). From any other address a request with those headers is refused"`
}

var headerForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,59}$`)

// takenHeaders have a meaning already, which would become somebody's name.
var takenHeaders = []string{"accept", "authorization", "connection", "content-length", "content-type", "cookie", "host", "idempotency-key", "last-event-id", "origin", "referer", "user-agent", "waybill-actor"}

// The widest ranges of a proxy: what one site has at most. Whoever has any address of a range can say that he is anybody, so it must not reach beyond.
const (
	widestIPv4 = 16
	widestIPv6 = 48
)

// loopback is this machine alone, as wide as it is.
var loopback = netip.MustParsePrefix("127.0.0.0/8")

// ParseTrusted reads an address or a range of them. wrong is a sentence for people, empty when it can be trusted.
func ParseTrusted(s string) (of netip.Prefix, wrong string) {
	if at, err := netip.ParseAddr(s); err == nil && at.Zone() == "" {
		at = at.Unmap()
		return netip.PrefixFrom(at, at.BitLen()), ""
	}
	of, err := netip.ParsePrefix(s)
	if err != nil || of.Addr().Is4In6() {
		return netip.Prefix{}, strconv.Quote(s) + " is no address of a proxy: write 10.0.0.7, or a range of its own such as 10.0.7.0/28"
	}
	widest := widestIPv6
	if of.Addr().Is4() {
		widest = widestIPv4
	}
	if of = of.Masked(); of.Bits() < widest && (of.Bits() < loopback.Bits() || !loopback.Contains(of.Addr())) {
		return netip.Prefix{}, fmt.Sprintf("%q is too wide: whoever has one of its addresses could say that he is anybody; name those that only the proxy has, /%d at the widest", s, widest)
	}
	return of, ""
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
		of, wrong := ParseTrusted(s)
		switch path := at + ".trusted[" + strconv.Itoa(i) + "]"; {
		case wrong != "":
			d.at(path, "%s", wrong)
		case of.Overlaps(loopback) || of.Contains(netip.IPv6Loopback()):
			d.warn(path, "every process of this machine can say that it is anybody: only where no other account and no other service of it is to be kept out")
		}
	}
}
