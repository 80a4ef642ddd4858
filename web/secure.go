package web

import (
	"net/http"
	"regexp"
)

// plainHost is what may stand in a policy as a host source: a name or an address, perhaps with a port. IPv6 addresses
// have no place in a policy's grammar; for them 'self' has to do, as it does in every current browser.
var plainHost = regexp.MustCompile(`^[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?$`)

// ContentSecurityPolicy is the policy of Parley's own pages: everything from this host, nothing from any other, no
// inline script or style, no frame around it, and no string may become markup or code, but for the address of the one
// service worker (Trusted Types, policy parley).
//
// host is the request's Host. Older browsers do not take 'self' to cover WebSockets of the same host, so it is named.
func ContentSecurityPolicy(host string) string {
	connect := "'self'"
	if plainHost.MatchString(host) {
		connect += " ws://" + host + " wss://" + host
	}
	return "default-src 'none'" +
		"; script-src 'self'" +
		"; style-src 'self'" +
		"; img-src 'self' data:" +
		"; media-src 'self' blob:" +
		"; manifest-src 'self'" +
		"; worker-src 'self'" +
		"; connect-src " + connect +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'" +
		"; require-trusted-types-for 'script'; trusted-types parley"
}

// Secure sets the headers that every page of Parley's has. A room's name is all that a guest needs to come in, so no
// address is ever told to another site.
func Secure(h http.Header, host string) {
	h.Set("Content-Security-Policy", ContentSecurityPolicy(host))
	h.Set("Permissions-Policy", "camera=(self), microphone=(self), display-capture=(self), speaker-selection=(self), "+
		"autoplay=(self), clipboard-write=(self), fullscreen=(self), picture-in-picture=(self), screen-wake-lock=(self), "+
		"geolocation=(), payment=(), usb=(), serial=(), hid=(), bluetooth=(), midi=()")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}
