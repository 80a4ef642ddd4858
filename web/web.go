// Package web is Parley's browser side, built and embedded: the app, and the SDK as a module of its own (/sdk.js).
//
// The sources are TypeScript in src; `go generate ./web` bundles them into dist with esbuild, which is a tool of this
// module, so that building needs Go alone. The built files are committed.
//
// [Handler] serves them. Signaling, the page that hands out the certificate authority and everything else under /api
// belong to package server; [Secure] gives its pages the same headers.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:generate go tool esbuild app=src/app/main.ts app=src/app/app.css sdk=src/sdk/index.ts sw=src/sdk/sw.ts index=src/app/index.html icon=src/app/icon.svg manifest=src/app/manifest.webmanifest --bundle --format=esm --target=es2022,chrome100,firefox105,safari16 --minify --charset=utf8 --legal-comments=none --loader:.html=copy --loader:.svg=copy --loader:.webmanifest=copy --outdir=dist --log-level=warning

//go:embed dist
var dist embed.FS

// contentTypes names every kind of file that dist may hold. It does not ask the operating system's tables, which differ.
var contentTypes = map[string]string{
	".html":        "text/html; charset=utf-8",
	".js":          "text/javascript; charset=utf-8",
	".css":         "text/css; charset=utf-8",
	".svg":         "image/svg+xml",
	".webmanifest": "application/manifest+json",
}

// A file is one built file, ready to be sent.
type file struct {
	contentType string
	plain       []byte
	zipped      []byte // gzip of plain
	version     string // names the content; the ETag, and the v of an address that may be kept for ever
}

// Handler serves the app at / and /r/<room>, and the other built files at the root: /app.js, /sdk.js and so on. Anything
// else is 404. It answers GET and HEAD, sets the headers of [Secure], and is safe for concurrent use.
//
// The page names its script and style with their version (/app.js?v=...), which browsers keep for a year; every other
// address is revalidated by ETag.
func Handler() http.Handler {
	files, err := load()
	if err != nil {
		panic(err) // the files are compiled in: this is a broken build, not an input
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Secure(w.Header(), r.Host)
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "This page can only be read.", http.StatusMethodNotAllowed)
			return
		}
		f := files[fileName(r.URL.Path)]
		if f == nil {
			http.NotFound(w, r)
			return
		}
		f.serve(w, r)
	})
}

// fileName returns the file that answers for a path of an address: the app for the start page and every room.
func fileName(p string) string {
	room, isRoom := strings.CutPrefix(p, "/r/")
	if p == "/" || isRoom && room != "" && !strings.Contains(room, "/") {
		return "index.html"
	}
	return strings.TrimPrefix(p, "/")
}

func load() (map[string]*file, error) {
	entries, err := fs.ReadDir(dist, "dist")
	if err != nil {
		return nil, err
	}
	files := make(map[string]*file)
	for _, e := range entries {
		plain, err := dist.ReadFile("dist/" + e.Name())
		if err != nil {
			return nil, err
		}
		if files[e.Name()], err = newFile(e.Name(), plain); err != nil {
			return nil, err
		}
	}
	index := files["index.html"]
	if index == nil {
		return nil, fmt.Errorf("web: dist has no index.html: run `go generate ./web`")
	}
	page := index.plain
	for name, f := range files {
		page = bytes.ReplaceAll(page, []byte(`"/`+name+`"`), []byte(`"/`+name+"?v="+f.version+`"`))
	}
	files["index.html"], err = newFile("index.html", page)
	return files, err
}

func newFile(name string, plain []byte) (*file, error) {
	contentType := contentTypes[path.Ext(name)]
	if contentType == "" {
		return nil, fmt.Errorf("web: dist/%s: no content type is known for %q", name, path.Ext(name))
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(plain); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(plain)
	version := base64.RawURLEncoding.EncodeToString(sum[:12])
	return &file{contentType, plain, zipped.Bytes(), version}, nil
}

func (f *file) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "no-cache")
	if r.URL.Query().Get("v") == f.version {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	body, etag := f.plain, `"`+f.version+`"`
	if acceptsGzip(r) {
		body, etag = f.zipped, `"`+f.version+`-gz"`
		h.Set("Content-Encoding", "gzip")
	}
	h.Set("ETag", etag)
	if strings.Contains(r.Header.Get("If-None-Match"), etag) {
		h.Del("Content-Encoding")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // a client that went away is nobody's error
	}
}

// acceptsGzip reports whether the client takes gzip (RFC 9110, section 12.5.3); a weight of zero is a refusal.
func acceptsGzip(r *http.Request) bool {
	for _, part := range strings.Split(r.Header.Get("Accept-Encoding"), ",") {
		coding, weight, _ := strings.Cut(part, ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(weight), "q="), 64)
			return err != nil || q > 0
		}
	}
	return false
}
