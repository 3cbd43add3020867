package dashboard

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// hostList says under which names a browser may ask. Without it a page of any site could give its own name this machine's address (DNS rebinding) and read
// everything: the browser takes it for the same origin, and so does http.CrossOriginProtection.
type hostList map[string]bool

func newHostList(names []string) hostList {
	l := hostList{"localhost": true}
	for _, n := range names {
		l[strings.ToLower(n)] = true
	}
	return l
}

// allows takes a Host header, with or without port. Loopback addresses need no name service, so nobody can give them to another name.
func (l hostList) allows(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	} else {
		name = strings.Trim(host, "[]")
	}
	if ip, err := netip.ParseAddr(name); err == nil {
		return ip.Zone() == "" && (ip.Unmap().IsLoopback() || l[ip.String()])
	}
	return l[strings.ToLower(name)]
}

// contentPolicy forbids what is inline, what comes from elsewhere, and framing.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; base-uri 'none'; " +
	"form-action 'self'; frame-ancestors 'none'"

// setHeaders sets what every answer has, errors included.
func setHeaders(h http.Header, secure bool) {
	if secure {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Frame-Options", "DENY") // for what does not know frame-ancestors
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
}
