package server

import (
	"log/slog"
	"net/http"
	"net/http/pprof"
	"net/url"
	"strings"
	"time"

	"github.com/parley-rtc/parley/server/acme"
	"github.com/parley-rtc/parley/server/guard"
	"github.com/parley-rtc/parley/server/machine"
	"github.com/parley-rtc/parley/signaling"
	"github.com/parley-rtc/parley/web"
)

const (
	// codeHTTPSRequired: 403, something that cannot be redirected was sent over plain http.
	codeHTTPSRequired signaling.Code = "https-required"
	// codeNoRelay: 404, credentials were asked for and there is no relay.
	codeNoRelay signaling.Code = "no-relay"
	// codeLocalOnly: 403, the page is for a person or program on the server's own machine.
	codeLocalOnly signaling.Code = "local-only"

	levelOfRefusal = slog.LevelDebug
)

// refusalCodes are all that a request can be refused with before it reaches anything.
var refusalCodes = []signaling.Code{
	signaling.CodeHostForbidden, signaling.CodeOriginForbidden, signaling.CodeClientForbidden,
	signaling.CodeForwardedUntrusted, guard.CodeForwardedMalformed, codeHTTPSRequired, codeLocalOnly,
	signaling.CodePassphraseRequired, signaling.CodePassphraseWrong, signaling.CodeTooManyAttempts,
}

// handler is everything that is served: first what asks for nobody's leave (an authority's challenge, health), then the
// guard, then https, then the rest.
func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/api/signal", s.hub)
	mux.HandleFunc("GET /api/turn", s.serveTURN)
	(&trust{s.authority, s.reach, s.refuse}).addTo(mux)
	mux.Handle("/metrics", s.localOnly(s.metrics.handler()))
	mux.Handle("/debug/pprof/", s.localOnly(profiles()))
	mux.Handle("/", web.Handler())

	guarded := s.guard.Handler(s.logged(s.secure(mux)), s.refuse)
	return s.metrics.count(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.certs.manager != nil && r.TLS == nil && acme.IsChallenge(r):
			s.certs.manager.ServeHTTP(w, r)
		case r.URL.Path == "/healthz":
			s.healthz(w)
		case r.URL.Path == "/readyz":
			s.readyz(w)
		default:
			guarded.ServeHTTP(w, r)
		}
	}))
}

// secure sends plain http to https, unless it comes from this machine, where it cannot be overheard and browsers take it
// for secure. A proxy that does not say how it was reached is trusted to do this itself.
func (s *server) secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client := guard.ClientOf(r)
		if client.Scheme != "http" || client.OnThisMachine() && isSecureHost(client.Hostname()) {
			next.ServeHTTP(w, r)
			return
		}
		asked := url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery} // and no scheme or host from the request line
		target := s.reach.redirect(client, asked.RequestURI())
		if target != "" && (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Header.Get("Upgrade") == "" {
			http.Redirect(w, r, target, http.StatusPermanentRedirect)
			return
		}
		message := "Use https: browsers give camera and microphone to secure pages only, and what is said here must not be overheard."
		if target == "" {
			message += " It is switched off (--https off), so this server can be used from its own machine only."
		}
		s.refuse(w, r, &guard.Refusal{Status: http.StatusForbidden, Code: codeHTTPSRequired, Message: message})
	})
}

// localOnly keeps what tells about the inside of the server for its own machine, and there from pages: any page that is open in a
// browser there could make it ask, and a profile costs while it is taken.
func (s *server) localOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !guard.ClientOf(r).OnThisMachine() {
			s.refuse(w, r, &guard.Refusal{Status: http.StatusForbidden, Code: codeLocalOnly,
				Message: "This is shown on the server's own machine only; from elsewhere, use a tunnel such as ssh -L."})
			return
		}
		if fromPage(r) {
			s.refuse(w, r, &guard.Refusal{Status: http.StatusForbidden, Code: codeLocalOnly,
				Message: "A page asked for this. It is for programs, such as curl and go tool pprof, and for whoever writes its address into a browser."})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// fromPage reports whether a page in a browser made a request, other than one of this server's own. Browsers say so in headers that no
// page can change (Fetch Metadata, https://www.w3.org/TR/fetch-metadata/); of one that is too old to say, nothing is believed.
func fromPage(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "none", "same-origin": // the address line, and links of the page there
		return false
	case "":
		return r.Header.Get("Origin") != "" || r.Header.Get("Referer") != "" || strings.HasPrefix(r.Header.Get("User-Agent"), "Mozilla/")
	}
	return true
}

func profiles() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return mux
}

// healthz says that the process answers; readyz, that it takes new calls.
func (s *server) healthz(w http.ResponseWriter) { plainText(w, http.StatusOK, "ok\n") }

func (s *server) readyz(w http.ResponseWriter) {
	if s.draining.Load() {
		plainText(w, http.StatusServiceUnavailable, "draining\n")
		return
	}
	plainText(w, http.StatusOK, "ready\n")
}

func plainText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // a client that went away is nobody's error
}

// logged writes a line for each request at level debug. Neither the client's address nor the path is in it: a room's name
// is all that is needed to come in.
func (s *server) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.log.Enabled(r.Context(), slog.LevelDebug) {
			next.ServeHTTP(w, r)
			return
		}
		start := time.Now()
		next.ServeHTTP(w, r)
		s.log.LogAttrs(r.Context(), slog.LevelDebug, "request",
			slog.String("method", r.Method), slog.String("route", r.Pattern),
			slog.String("from", network(guard.ClientOf(r))), slog.Duration("took", time.Since(start)))
	})
}

func refusalAttrs(r *http.Request, refusal *guard.Refusal) []slog.Attr {
	return []slog.Attr{
		slog.String("code", string(refusal.Code)), slog.String("method", r.Method),
		slog.String("from", network(guard.ClientOf(r))),
	}
}

// network is as much of where a client is as the log tells.
func network(c guard.Client) string {
	switch {
	case c.OnThisMachine():
		return "this machine"
	case machine.IsNear(c.Addr):
		return "local network"
	}
	return "internet"
}
