package e2e

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/need"
)

const patience = need.Patience

//go:embed testdata/page.js
var pageJS string

// personOptions say who sits before a tab.
type personOptions struct {
	refuse        bool // says no when the page asks for the camera and microphone
	undecided     bool // has not been asked yet
	width, height int64
	dark          bool
}

// A browser is a running browser process.
type browser interface {
	person(t *testing.T, name string, o personOptions) *tab
}

// browsers are the processes that tests share.
var browsers = []struct {
	name  string
	share func(t *testing.T) browser
}{
	{"Chromium", func(t *testing.T) browser { t.Helper(); return sharedChromium(t) }},
	{"Firefox", func(t *testing.T) browser { t.Helper(); return sharedFirefox(t) }},
}

// inEachBrowser runs a test for each browser.
func inEachBrowser(t *testing.T, test func(t *testing.T, b browser)) {
	for _, b := range browsers {
		t.Run(b.name, func(t *testing.T) { test(t, b.share(t)) })
	}
}

// A page is what a browser shows, by that browser's own protocol.
type page interface {
	navigate(ctx context.Context, url string) error
	reload(ctx context.Context) error
	// evaluate gives the value of an expression, which may be a promise, as JSON: none of undefined.
	evaluate(ctx context.Context, js string) ([]byte, error)
	// click waits until an element can be clicked.
	click(ctx context.Context, selector string) error
	// insert writes into what has the focus, as by pasting.
	insert(ctx context.Context, text string) error
	press(ctx context.Context, keys string) error
	screenshot(ctx context.Context) ([]byte, error)
}

// tab is a page with a person before it.
type tab struct {
	t    *testing.T
	name string
	page page
	ctx  context.Context // of the page

	mu       sync.Mutex
	requests []string // URLs of all that the page asked for, WebSockets too
	console  []string
}

// tell shows, if the test fails, what a person would look at then.
func (p *tab) tell() {
	p.t.Cleanup(func() {
		if p.t.Failed() {
			p.autopsy()
		}
	})
}

// asks keeps what the page asked for.
func (p *tab) asks(url string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, url)
}

// prints keeps a line of the page's console.
func (p *tab) prints(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.console = append(p.console, line)
}

// run is one action of the person, in a bounded time.
func (p *tab) run(what string, action func(context.Context) error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := action(ctx); err != nil {
		p.t.Fatalf("%s: %s: %v", p.name, what, err)
	}
}

// sel is the selector of what the app marks with data-testid; id may be a selector already.
func sel(id string) string {
	if strings.Contains(id, "[") {
		return id
	}
	return fmt.Sprintf("[data-testid=%q]", id)
}

func (p *tab) open(url string) {
	p.t.Helper()
	if err := p.visit(url); err != nil {
		p.t.Fatalf("%s: opening %s: %v", p.name, url, err)
	}
}

func (p *tab) reload() { p.t.Helper(); p.run("reloading", p.page.reload) }

// visit opens a page that perhaps cannot be opened. Where the network changes meanwhile, it begins anew.
func (p *tab) visit(url string) error {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	for {
		err := p.page.navigate(ctx, url)
		if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "ERR_NETWORK_CHANGED") {
			return err
		}
	}
}

func (p *tab) click(id string) {
	p.t.Helper()
	p.run("clicking "+id, func(ctx context.Context) error { return p.page.click(ctx, sel(id)) })
}

// fill replaces what stands in an input by text, as by pasting it.
func (p *tab) fill(id, text string) {
	p.t.Helper()
	p.sees(id)
	eval[any](p, find(id)+".focus(), "+find(id)+".select()")
	p.run("writing into "+id, func(ctx context.Context) error { return p.page.insert(ctx, text) })
}

// press types on the keyboard, wherever the focus is.
func (p *tab) press(keys string) {
	p.t.Helper()
	p.run("typing", func(ctx context.Context) error { return p.page.press(ctx, keys) })
}

// try evaluates an expression, which may be a promise.
func try[T any](p *tab, js string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	return value[T](ctx, p.page, js)
}

func value[T any](ctx context.Context, on page, js string) (v T, err error) {
	b, err := on.evaluate(ctx, js)
	if err != nil {
		return v, err
	}
	if len(b) == 0 || string(b) == "null" {
		b = []byte("null")
		switch reflect.TypeFor[T]().Kind() {
		case reflect.Interface, reflect.Pointer, reflect.Map, reflect.Slice:
		default:
			return v, errors.New("the value is null or undefined")
		}
	}
	return v, json.Unmarshal(b, &v)
}

// eval evaluates an expression, which may be a promise.
func eval[T any](p *tab, js string) T {
	p.t.Helper()
	v, err := try[T](p, js)
	if err != nil {
		p.t.Fatalf("%s: %s: %v", p.name, js, err)
	}
	return v
}

// until waits until an expression, which may be a promise, is true. It lives through navigations.
func (p *tab) until(what, js string) {
	p.t.Helper()
	wait(p.t, p.name+": "+what, func() error {
		ok, err := try[bool](p, "(async () => !!(await ("+js+")))()")
		if err == nil && !ok {
			err = errors.New("not yet: " + js)
		}
		return err
	})
}

// find is the expression of the first visible element of that data-testid.
func find(id string) string { return fmt.Sprintf("document.querySelector('%s')", sel(id)) }

// sees waits until an element is there and shown.
func (p *tab) sees(id string) {
	p.t.Helper()
	p.until("sees "+id, find(id)+"?.checkVisibility()")
}

// reads waits until the text of an element contains a sentence.
func (p *tab) reads(id, sentence string) {
	p.t.Helper()
	quoted, _ := json.Marshal(strings.ToLower(sentence))
	p.until("reads "+sentence, find(id)+"?.checkVisibility() && "+find(id)+".innerText.toLowerCase().includes("+string(quoted)+")")
}

// settles waits until the page is painted and nothing in it is on its way to another look.
func (p *tab) settles() {
	p.t.Helper()
	p.until("is painted", "new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(() => r(true))))")
	p.until("has come to rest", "document.getAnimations().every((a) => a.playState !== 'running' || a.effect.getComputedTiming().endTime === Infinity)")
}

// wait calls try until it returns nil, and fails the test with its last error when patience has run out.
func wait(t *testing.T, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: waited %v: %v", what, patience, err)
		}
		<-tick.C
	}
}

// shot is a picture of what the person sees.
func (p *tab) shot() []byte {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	png, err := p.page.screenshot(ctx)
	if err != nil {
		p.t.Fatalf("%s: screenshot: %v", p.name, err)
	}
	return png
}

// autopsy keeps what a person would look at after a test failed.
func (p *tab) autopsy() {
	p.mu.Lock()
	console := p.console
	p.mu.Unlock()
	for _, line := range console[max(0, len(console)-40):] {
		p.t.Logf("%s: console: %s", p.name, line)
	}
	ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
	defer cancel()
	if text, err := value[string](ctx, p.page, "location.href + '\\n' + document.body.innerText"); err == nil {
		p.t.Logf("%s sees: %s", p.name, text)
	}
	if state, err := value[string](ctx, p.page, "e2e.autopsy().then(JSON.stringify)"); err == nil {
		p.t.Logf("%s's connections and elements: %s", p.name, state)
	}
	if png, err := p.page.screenshot(ctx); err == nil {
		file := filepath.Join(p.t.ArtifactDir(), strings.ReplaceAll(p.name, " ", "-")+".png")
		if os.WriteFile(file, png, 0o644) == nil {
			p.t.Logf("%s: screenshot in %s", p.name, file)
		}
	}
}
