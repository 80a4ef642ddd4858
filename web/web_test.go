package web

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
)

func get(t *testing.T, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPaths(t *testing.T) {
	for path, want := range map[string]struct {
		status      int
		contentType string
	}{
		"/":                             {200, "text/html; charset=utf-8"},
		"/r/kitchen":                    {200, "text/html; charset=utf-8"},
		"/r/abcd-efgh-2345-mnop?v=none": {200, "text/html; charset=utf-8"},
		"/app.js":                       {200, "text/javascript; charset=utf-8"},
		"/sdk.js":                       {200, "text/javascript; charset=utf-8"},
		"/sw.js":                        {200, "text/javascript; charset=utf-8"},
		"/app.css":                      {200, "text/css; charset=utf-8"},
		"/icon.svg":                     {200, "image/svg+xml"},
		"/manifest.webmanifest":         {200, "application/manifest+json"},
		"/r/":                           {404, "text/plain; charset=utf-8"},
		"/r/kitchen/sink":               {404, "text/plain; charset=utf-8"},
		"/r/../web.go":                  {404, "text/plain; charset=utf-8"},
		"/dist/app.js":                  {404, "text/plain; charset=utf-8"},
		"//app.js":                      {404, "text/plain; charset=utf-8"},
	} {
		r := get(t, path)
		if r.StatusCode != want.status || r.Header.Get("Content-Type") != want.contentType {
			t.Errorf("%s: %d %s, want %d %s", path, r.StatusCode, r.Header.Get("Content-Type"), want.status, want.contentType)
		}
		if r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: lacks the security headers", path)
		}
	}
}

func TestOnlyReading(t *testing.T) {
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
	if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD" {
		t.Errorf("POST /: %d, Allow %q", w.Code, w.Header().Get("Allow"))
	}
}

// The page's own addresses may be kept for ever, because they change with the content; a stale version may not be.
func TestCaching(t *testing.T) {
	page := body(t, get(t, "/"))
	addresses := regexp.MustCompile(`"(/[a-z.]+\?v=[\w-]+)"`).FindAllStringSubmatch(page, -1)
	if len(addresses) < 3 {
		t.Fatalf("the page names %d versioned files: %s", len(addresses), page)
	}
	for _, a := range addresses {
		r := get(t, a[1])
		if r.StatusCode != 200 || !strings.Contains(r.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d, Cache-Control %q", a[1], r.StatusCode, r.Header.Get("Cache-Control"))
		}
	}
	for _, path := range []string{"/", "/app.js", "/app.js?v=stale", "/sdk.js"} {
		r := get(t, path)
		if c := r.Header.Get("Cache-Control"); c != "no-cache" {
			t.Errorf("%s: Cache-Control %q, want no-cache", path, c)
		}
		again := get(t, path, "If-None-Match", r.Header.Get("ETag"))
		if again.StatusCode != http.StatusNotModified || body(t, again) != "" {
			t.Errorf("%s: revalidation gave %d, want 304", path, again.StatusCode)
		}
	}
}

func TestGzip(t *testing.T) {
	plain := body(t, get(t, "/app.js", "Accept-Encoding", "br, gzip;q=0"))
	r := get(t, "/app.js", "Accept-Encoding", "gzip, deflate, br")
	if r.Header.Get("Content-Encoding") != "gzip" {
		t.Fatalf("Content-Encoding %q", r.Header.Get("Content-Encoding"))
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	unzipped, err := io.ReadAll(z)
	if err != nil || string(unzipped) != plain {
		t.Errorf("the compressed file differs from the plain one (%v)", err)
	}
}

// A policy is only as strict as its loosest word.
func TestPolicy(t *testing.T) {
	for host, connect := range map[string]string{
		"localhost:8080":     "connect-src 'self' ws://localhost:8080 wss://localhost:8080;",
		"call.example":       "connect-src 'self' ws://call.example wss://call.example;",
		"[fd00::1]:8443":     "connect-src 'self';",
		"a; script-src *":    "connect-src 'self';",
		"a\r\nSet-Cookie: b": "connect-src 'self';",
	} {
		policy := ContentSecurityPolicy(host)
		if !strings.Contains(policy, connect) {
			t.Errorf("host %q: %s, want %s", host, policy, connect)
		}
		for _, loose := range []string{"unsafe", "*", "http:", "https:"} {
			if strings.Contains(policy, loose) {
				t.Errorf("host %q: the policy says %q: %s", host, loose, policy)
			}
		}
	}
	// The page obeys it: nothing inline, nothing from elsewhere.
	page := body(t, get(t, "/"))
	for _, bad := range []string{"<style", " style=", " onclick=", "http://", "https://", `src="//`} {
		if strings.Contains(page, bad) {
			t.Errorf("index.html has %q", bad)
		}
	}
	if n := strings.Count(page, "<script"); n != strings.Count(page, `<script type="module" src="/`) {
		t.Errorf("index.html has an inline script")
	}
}
