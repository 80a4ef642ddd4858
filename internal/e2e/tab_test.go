package e2e

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

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

// tab is a page with a person before it.
type tab struct {
	t    *testing.T
	name string
	ctx  context.Context
	b    *chromium

	mu       sync.Mutex
	requests []string // URLs of all that the page asked for, WebSockets too
	console  []string
}

// person opens an empty tab in a browser profile of its own.
func (b *chromium) person(t *testing.T, name string, o personOptions) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	p := newTab(t, name, ctx, b, o)
	switch {
	case o.refuse:
		p.decides(browser.PermissionSettingDenied, "camera", "microphone")
	case !o.undecided:
		p.decides(browser.PermissionSettingGranted, "camera", "microphone")
	}
	return p
}

// decides says what the pages of the tab's profile may do.
func (p *tab) decides(setting browser.PermissionSetting, permissions ...string) {
	p.t.Helper()
	for _, name := range permissions {
		if _, err := chromedp.CallBrowser(p.ctx, browser.SetPermission, browser.SetPermissionParams{
			Permission: &browser.PermissionDescriptor{Name: name}, Setting: setting,
			BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID,
		}); err != nil {
			p.t.Fatalf("%s: the permission for %s: %v", p.name, name, err)
		}
	}
}

// another opens a second tab of the same profile.
func (p *tab) another(name string) *tab {
	p.t.Helper()
	ctx, cancel := chromedp.NewContext(p.ctx)
	p.t.Cleanup(cancel)
	return newTab(p.t, name, ctx, p.b, personOptions{})
}

func newTab(t *testing.T, name string, ctx context.Context, b *chromium, o personOptions) *tab {
	t.Helper()
	p := &tab{t: t, name: name, ctx: ctx, b: b}
	if o.width == 0 {
		o.width, o.height = 900, 600 // the less to paint
	}
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("%s: opening a tab: %v", name, err)
	}
	if err := chromedp.Listen(ctx, p.note); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	do(p, network.Enable, network.EnableParams{})
	do(p, runtime.Enable, cdp.Empty{})
	do(p, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	do(p, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: pageJS})
	p.resize(o.width, o.height)
	p.dark(o.dark)
	t.Cleanup(func() {
		if t.Failed() {
			p.autopsy()
		}
	})
	return p
}

// note keeps what the page asks for and what it says.
func (p *tab) note(ev any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		p.requests = append(p.requests, ev.Request.URL)
	case *network.EventWebSocketCreated:
		p.requests = append(p.requests, ev.URL)
	case *network.EventWebTransportCreated:
		p.requests = append(p.requests, ev.URL)
	case *runtime.EventConsoleAPICalled:
		var words []string
		for _, arg := range ev.Args {
			words = append(words, strings.Trim(string(arg.Value), `"`)+arg.Description)
		}
		p.console = append(p.console, fmt.Sprint(ev.Type, ": ", strings.Join(words, " ")))
	case *runtime.EventExceptionThrown:
		text := ev.ExceptionDetails.Text
		if e := ev.ExceptionDetails.Exception; e != nil {
			text += " " + e.Description
		}
		p.console = append(p.console, "uncaught: "+text)
	}
}

// do runs one command of the DevTools protocol on the tab.
func do[P, R any](p *tab, cmd cdp.Command[P, R], params P) R {
	p.t.Helper()
	res, err := chromedp.Call(p.ctx, cmd, params)
	if err != nil {
		p.t.Fatalf("%s: %s: %v", p.name, cmd.Method, err)
	}
	return res
}

// run is one action of the person, in a bounded time.
func (p *tab) run(what string, actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.t.Fatalf("%s: %s: %v", p.name, what, err)
	}
}

// sel is the selector of what the app marks with data-testid; id may be a selector already.
func sel(id string) chromedp.CSS {
	if strings.Contains(id, "[") {
		return chromedp.CSS(id)
	}
	return chromedp.CSS(fmt.Sprintf("[data-testid=%q]", id))
}

func (p *tab) open(url string) {
	p.t.Helper()
	if err := p.visit(url); err != nil {
		p.t.Fatalf("%s: opening %s: %v", p.name, url, err)
	}
}

func (p *tab) reload() { p.t.Helper(); p.run("reloading", chromedp.Reload()) }

// visit opens a page that perhaps cannot be opened. Where the network changes meanwhile, it begins anew.
func (p *tab) visit(url string) error {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	for {
		err := chromedp.Do(ctx, chromedp.Navigate(url))
		if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "ERR_NETWORK_CHANGED") {
			return err
		}
	}
}

func (p *tab) click(id string) {
	p.t.Helper()
	p.run("clicking "+id, chromedp.Click(sel(id), chromedp.NodeVisible, chromedp.NodeEnabled))
}

// fill replaces what stands in an input by text, as by pasting it.
func (p *tab) fill(id, text string) {
	p.t.Helper()
	p.sees(id)
	eval[any](p, find(id)+".focus(), "+find(id)+".select()")
	do(p, input.InsertText, input.InsertTextParams{Text: text})
}

// press types on the keyboard, wherever the focus is.
func (p *tab) press(keys string) { p.t.Helper(); p.run("typing", chromedp.KeyEvent(keys)) }

func (p *tab) resize(width, height int64) {
	do(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 500,
	})
}

func (p *tab) dark(on bool) {
	scheme := "light"
	if on {
		scheme = "dark"
	}
	do(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// try evaluates an expression, which may be a promise.
func try[T any](p *tab, js string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](js, chromedp.EvalAwaitPromise))
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
	png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
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
	if text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("location.href + '\\n' + document.body.innerText")); err == nil {
		p.t.Logf("%s sees: %s", p.name, text)
	}
	if state, err := chromedp.Run(ctx, chromedp.Evaluate[string]("e2e.autopsy().then(JSON.stringify)", chromedp.EvalAwaitPromise)); err == nil {
		p.t.Logf("%s's connections and elements: %s", p.name, state)
	}
	if png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot()); err == nil {
		file := filepath.Join(p.t.ArtifactDir(), strings.ReplaceAll(p.name, " ", "-")+".png")
		if os.WriteFile(file, png, 0o644) == nil {
			p.t.Logf("%s: screenshot in %s", p.name, file)
		}
	}
}
