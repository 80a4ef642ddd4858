package server

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"slices"
	"strings"

	"rsc.io/qr"

	"github.com/parley-rtc/parley/server/guard"
	"github.com/parley-rtc/parley/server/localca"
	"github.com/parley-rtc/parley/signaling"
	"github.com/parley-rtc/parley/web"
)

// The server's own pages look like the app but stand alone: a refused client could not load a style sheet, so the style
// is in the page, and the policy names it by its hash.

//go:embed page
var pageFiles embed.FS

var (
	pageStyle  = mustRead("page/style.css")
	pagePolicy = "default-src 'none'; style-src 'sha256-" + styleHash() + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

	refusalPage = parsePage("refusal.html")
	trustPage   = parsePage("trust.html")
)

func mustRead(name string) string {
	data, err := pageFiles.ReadFile(name)
	if err != nil {
		panic(err) // the files are compiled in
	}
	return string(data)
}

func styleHash() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func parsePage(name string) *template.Template {
	return template.Must(template.ParseFS(pageFiles, "page/base.html", "page/"+name))
}

// writePage answers with a page. data has at least a Title and a Style.
func writePage(w http.ResponseWriter, r *http.Request, status int, page *template.Template, data map[string]any) {
	data["Style"] = template.CSS(pageStyle)
	var b bytes.Buffer
	if err := page.Execute(&b, data); err != nil {
		panic(err) // a template that does not fit its data: the tests run each
	}
	h := w.Header()
	web.Secure(h, r.Host)
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // a client that went away is nobody's error
}

// refuse tells a client why it is not served: a person by a page, a program by the JSON of docs/signaling.md.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, refusal *guard.Refusal) {
	s.metrics.refused(refusal.Code)
	s.log.LogAttrs(r.Context(), levelOfRefusal, "refused", refusalAttrs(r, refusal)...)
	if !strings.Contains(r.Header.Get("Accept"), "text/html") || strings.HasPrefix(r.URL.Path, "/api/") {
		signaling.WriteHTTPError(w, refusal.Status, &signaling.Error{Code: refusal.Code, Message: refusal.Message})
		return
	}
	writePage(w, r, refusal.Status, refusalPage, map[string]any{
		"Title":   refusalTitle(refusal.Code),
		"Message": refusal.Message,
		"Code":    string(refusal.Code),
	})
}

func refusalTitle(code signaling.Code) string {
	switch code {
	case signaling.CodeHostForbidden:
		return "This server has another name"
	case signaling.CodeClientForbidden:
		return "This server is for its local network"
	case signaling.CodeForwardedUntrusted:
		return "There is a proxy in between"
	case codeHTTPSRequired:
		return "This needs https"
	}
	return "This request is not served"
}

// trust serves the page that hands out the local authority, and the authority itself, to this machine and its local
// network: it is of no use elsewhere, and tells the machine's names and addresses.
type trust struct {
	authority *localca.Authority
	reach     *reach
	refuse    func(http.ResponseWriter, *http.Request, *guard.Refusal)
}

const (
	trustPath   = "/trust"
	certPath    = trustPath + "/parley-authority.crt"
	profilePath = trustPath + "/parley-authority.mobileconfig"
)

func (t *trust) addTo(mux *http.ServeMux) {
	mux.Handle("GET "+trustPath, t.nearOnly(http.HandlerFunc(t.page)))
	mux.Handle("GET "+certPath, t.nearOnly(download("application/x-x509-ca-cert", t.authority.PEM())))
	mux.Handle("GET "+profilePath, t.nearOnly(download("application/x-apple-aspen-config", t.authority.Profile())))
}

func (t *trust) nearOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !guard.ClientOf(r).Near() {
			t.refuse(w, r, &guard.Refusal{Status: http.StatusForbidden, Code: signaling.CodeClientForbidden,
				Message: "The local authority is for devices of the server's own network."})
			return
		}
		next.ServeHTTP(w, r)
	})
}

func download(contentType string, data []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", contentType)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		_, _ = w.Write(data) // a client that went away is nobody's error
	})
}

func (t *trust) page(w http.ResponseWriter, r *http.Request) {
	data := map[string]any{
		"Title":       "Trust this server",
		"Name":        t.authority.Name(),
		"Fingerprint": slices.Collect(slices.Chunk(strings.SplitAfter(t.authority.Fingerprint(), ":"), 8)),
		"Until":       t.authority.Certificate().NotAfter.Format("2 January 2006"),
		"Names":       strings.Join(t.authority.OwnNames(), ", "),
	}
	if far := t.reach.fromNetwork(); len(far) > 0 {
		address := far[0] + trustPath
		data["Address"] = address
		data["Code"] = qrCode(address)
	}
	writePage(w, r, http.StatusOK, trustPage, data)
}

// qrCode draws text as a picture that is part of the page.
func qrCode(text string) template.HTML {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return "" // only a text of thousands of characters
	}
	const quiet = 4 // modules of margin that readers need (ISO/IEC 18004)
	var path strings.Builder
	for y := range code.Size {
		for x := range code.Size {
			if code.Black(x, y) {
				fmt.Fprintf(&path, "M%d %dh1v1h-1z", x+quiet, y+quiet)
			}
		}
	}
	size := code.Size + 2*quiet
	return template.HTML(fmt.Sprintf(
		`<svg viewBox="0 0 %d %[1]d" role="img" aria-label="QR code of the address" shape-rendering="crispEdges"><rect width="%[1]d" height="%[1]d" fill="#fff"/><path d="%s" fill="#000"/></svg>`,
		size, path.String()))
}
