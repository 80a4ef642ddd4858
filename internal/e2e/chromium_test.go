package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/parley-rtc/parley/internal/need"
)

// browserOptions say how one Chromium process is started. The zero value is the browser of most people: a camera and
// a microphone (of Chromium's own making), and a person to ask before a page may use them.
type browserOptions struct {
	noDevices bool   // no camera, no microphone
	camera    string // the film that its camera shows; a fresh one of everyday if empty
	netns     string // the network namespace that it runs in
	home      string // HOME, where Chromium looks for the user's authorities; a fresh folder if empty
	names     string // names that are found at an address, as "MAP call.example 203.0.113.7"
	trials    string // field trials, as "Name/Group/Name/Group/"
}

// chromium is a browser process. Its persons share nothing: each has cookies, storage and permissions of its own.
type chromium struct{ ctx context.Context }

// startChromium starts a browser process; o has a home, and a camera if there are to be devices.
func startChromium(o browserOptions) (*chromium, context.CancelFunc, error) {
	var output bytes.Buffer
	opts := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(chromiumPath()),
		chromedp.Env("HOME="+o.home, "TMPDIR=/tmp"), // there it makes a socket, whose path must be short
		chromedp.CombinedOutput(&output),
		chromedp.NoFirstRun,
		chromedp.NoDefaultBrowserCheck,
		chromedp.Headless,
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("disable-extensions", true),
		chromedp.Flag("password-store", "basic"),
		// Each page stands for a person that looks at it.
		chromedp.Flag("disable-background-timer-throttling", true),
		chromedp.Flag("disable-backgrounding-occluded-windows", true),
		chromedp.Flag("disable-renderer-backgrounding", true),
	}
	if !o.noDevices {
		opts = append(opts, chromedp.Flag("use-fake-device-for-media-stream", true), chromedp.Flag("use-file-for-fake-video-capture", o.camera))
	}
	if o.names != "" {
		opts = append(opts, chromedp.Flag("host-resolver-rules", o.names))
	}
	if o.trials != "" {
		opts = append(opts, chromedp.Flag("force-fieldtrials", o.trials))
	}
	if o.netns != "" {
		opts = append(opts, chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) { inNamespace(cmd, o.netns) }))
	}
	alloc, stop := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, cancel := chromedp.NewContext(alloc)
	end := func() { cancel(); stop() }
	if err := chromedp.Do(ctx); err != nil {
		end()
		return nil, nil, fmt.Errorf("starting %s: %w\n%s", chromiumPath(), err, output.String())
	}
	return &chromium{ctx}, end, nil
}

// launch starts a browser process that ends with the test.
func launch(t *testing.T, o browserOptions) *chromium {
	t.Helper()
	if o.netns == "" {
		need.Network(t)
	}
	if o.home == "" {
		o.home = t.TempDir()
	}
	if o.camera == "" {
		o.camera = filmOfEveryday(t)
	}
	b, stop, err := startChromium(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return b
}

// person opens an empty tab in a browser profile of its own.
func (b *chromium) person(t *testing.T, name string, o personOptions) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	p := newTab(t, name, ctx, o)
	switch {
	case o.refuse:
		p.decides(cdpbrowser.PermissionSettingDenied, "camera", "microphone")
	case !o.undecided:
		p.decides(cdpbrowser.PermissionSettingGranted, "camera", "microphone")
	}
	return p
}

// decides says what the pages of the tab's profile may do.
func (p *tab) decides(setting cdpbrowser.PermissionSetting, permissions ...string) {
	p.t.Helper()
	for _, name := range permissions {
		if _, err := chromedp.CallBrowser(p.ctx, cdpbrowser.SetPermission, cdpbrowser.SetPermissionParams{
			Permission: &cdpbrowser.PermissionDescriptor{Name: name}, Setting: setting,
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
	return newTab(p.t, name, ctx, personOptions{})
}

func newTab(t *testing.T, name string, ctx context.Context, o personOptions) *tab {
	t.Helper()
	p := &tab{t: t, name: name, page: devTools{}, ctx: ctx}
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
	do(p, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: pageJS})
	p.resize(o.width, o.height)
	p.dark(o.dark)
	p.tell()
	return p
}

// note keeps what the page asks for and what it says.
func (p *tab) note(ev any) {
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		p.asks(ev.Request.URL)
	case *network.EventWebSocketCreated:
		p.asks(ev.URL)
	case *network.EventWebTransportCreated:
		p.asks(ev.URL)
	case *runtime.EventConsoleAPICalled:
		var words []string
		for _, arg := range ev.Args {
			words = append(words, strings.Trim(string(arg.Value), `"`)+arg.Description)
		}
		p.prints(fmt.Sprint(ev.Type, ": ", strings.Join(words, " ")))
	case *runtime.EventExceptionThrown:
		text := ev.ExceptionDetails.Text
		if e := ev.ExceptionDetails.Exception; e != nil {
			text += " " + e.Description
		}
		p.prints("uncaught: " + text)
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

// devTools is a page of Chromium. The context is the page's, or made of it.
type devTools struct{}

func (devTools) navigate(ctx context.Context, url string) error {
	return chromedp.Do(ctx, chromedp.Navigate(url))
}
func (devTools) reload(ctx context.Context) error { return chromedp.Do(ctx, chromedp.Reload()) }

func (devTools) evaluate(ctx context.Context, js string) ([]byte, error) {
	return chromedp.Run(ctx, chromedp.Evaluate[[]byte](js, chromedp.EvalAwaitPromise))
}

func (devTools) click(ctx context.Context, selector string) error {
	return chromedp.Do(ctx, chromedp.Click(chromedp.CSS(selector), chromedp.NodeVisible, chromedp.NodeEnabled))
}

func (devTools) insert(ctx context.Context, text string) error {
	_, err := chromedp.Call(ctx, input.InsertText, input.InsertTextParams{Text: text})
	return err
}

func (devTools) press(ctx context.Context, keys string) error {
	return chromedp.Do(ctx, chromedp.KeyEvent(keys))
}

func (devTools) screenshot(ctx context.Context) ([]byte, error) {
	return chromedp.Run(ctx, chromedp.CaptureScreenshot())
}

// shared is the browser process of the tests that do not need one of their own. TestMain ends it.
var shared struct {
	sync.Once
	b    *chromium
	err  error
	stop func()
}

func sharedChromium(t *testing.T) *chromium {
	t.Helper()
	needs(t, needChromium)
	need.Network(t)
	shared.Do(func() {
		home, err := os.MkdirTemp("", "parley-e2e-home")
		if err != nil {
			shared.err = err
			return
		}
		b, stop, err := startChromium(browserOptions{home: home, camera: filmOfEveryday(t), names: "MAP proxy.test 127.0.0.1"})
		shared.b, shared.err = b, err
		shared.stop = func() {
			if stop != nil {
				stop()
			}
			os.RemoveAll(home)
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.b
}
