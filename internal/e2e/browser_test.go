package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"testing"

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
