package web

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/parley-rtc/parley/internal/need"
)

// The tests in src/tests are TypeScript, of the parts of SDK and app that need no other side: bundled as dist is, run in
// Chromium, in virtual time, and told by the page's title.
func TestTypeScript(t *testing.T) {
	need.Program(t, "chromium", "chromium")
	script, err := exec.CommandContext(t.Context(), "go", "tool", "esbuild", "src/tests/main.ts", "--bundle", "--format=esm", "--target=es2022").Output()
	if err != nil {
		t.Fatalf("esbuild: %v", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `<!doctype html><title>not run</title><body><script type="module" src="/main.js"></script>`)
	})
	mux.HandleFunc("/main.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write(script)
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	ctx, cancel := context.WithTimeout(t.Context(), need.Patience)
	defer cancel()
	browser := exec.CommandContext(ctx, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--disable-background-networking", "--virtual-time-budget=30000", "--user-data-dir="+t.TempDir(), "--dump-dom", server.URL)
	browser.Env = append(os.Environ(), "TMPDIR=/tmp") // where it makes a socket, whose path must be short
	page, err := browser.Output()
	if err != nil {
		t.Fatalf("chromium: %v", err)
	}
	title := regexp.MustCompile(`<title>passed ([0-9]+)</title>`).FindSubmatch(page)
	if title == nil {
		t.Fatalf("%s", html.UnescapeString(string(page)))
	}
	t.Logf("%s checks passed", title[1])
}
