package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parley-rtc/parley/internal/need"
)

// firefoxPrefs make a browser with a camera and a microphone (of Firefox's own making) that a page may use, that may
// play sound, and that talks to nobody but the page's servers.
const firefoxPrefs = `
user_pref("media.navigator.streams.fake", true);
user_pref("media.navigator.permission.disabled", true);
user_pref("media.autoplay.default", 0);
user_pref("media.gmp-manager.updateEnabled", false);
user_pref("app.update.enabled", false);
user_pref("app.normandy.enabled", false);
user_pref("app.normandy.api_url", "");
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.aboutConfig.showWarning", false);
user_pref("browser.newtabpage.enabled", false);
user_pref("browser.region.network.url", "");
user_pref("browser.safebrowsing.downloads.remote.enabled", false);
user_pref("browser.safebrowsing.update.enabled", false);
user_pref("browser.search.update", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.page", 0);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("browser.topsites.contile.enabled", false);
user_pref("datareporting.healthreport.uploadEnabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("dom.push.connection.enabled", false);
user_pref("extensions.getAddons.cache.enabled", false);
user_pref("extensions.systemAddon.update.enabled", false);
user_pref("extensions.update.enabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("network.dns.disablePrefetch", true);
user_pref("network.prefetch-next", false);
user_pref("services.settings.server", "data:,");
user_pref("toolkit.telemetry.enabled", false);
user_pref("toolkit.telemetry.server", "data:,");
user_pref("toolkit.telemetry.unified", false);
`

// firefox is a browser process. Its persons share nothing but the permissions that the preferences give to all.
type firefox struct{ *bidi }

// startFirefox starts a browser process in a network namespace, if that has a name, where the client reaches it. Its
// profile may have an authority already; home is HOME.
func startFirefox(netns string, client *http.Client, home, profile string) (f *firefox, stop func(), err error) {
	if err := os.WriteFile(filepath.Join(profile, "user.js"), []byte(firefoxPrefs), 0o600); err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(firefoxPath(), "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port=0")
	cmd.Env = append(os.Environ(), "HOME="+home)
	if netns != "" {
		inNamespace(cmd, netns)
	}
	r, w := io.Pipe()
	cmd.Stderr = w
	cmd.WaitDelay = time.Second // children may hold its output
	started, ended := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the thread is the parent, for endsWithTest
		endsWithTest(cmd)
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
		}
		w.Close()
	}()
	address := make(chan string, 1)
	var printed []string // until the address came
	go func() {
		defer close(ended)
		lines := bufio.NewScanner(r)
		for found := false; lines.Scan(); {
			_, url, ok := strings.Cut(lines.Text(), "WebDriver BiDi listening on ")
			if ok && !found {
				found = true
				address <- url
			}
			if !found {
				printed = append(printed, lines.Text())
			}
		}
		io.Copy(io.Discard, r)
	}()
	if err := <-started; err != nil {
		return nil, nil, err
	}
	stop = func() {
		cmd.Process.Kill()
		<-ended
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	select {
	case url := <-address:
		var session *bidi
		if session, err = dialBiDi(ctx, client, url); err == nil {
			return &firefox{session}, stop, nil
		}
	case <-ended:
		err = errors.New(strings.Join(printed, "\n"))
	case <-ctx.Done():
		err = ctx.Err()
	}
	stop()
	return nil, nil, fmt.Errorf("starting %s: %w", firefoxPath(), err)
}

// person opens an empty page in storage of its own. Of the options, Firefox has none.
func (f *firefox) person(t *testing.T, name string, o personOptions) *tab {
	t.Helper()
	if o != (personOptions{}) {
		t.Fatalf("Firefox has no person with %+v", o)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	page, end, err := f.open(ctx, pageJS)
	if err != nil {
		t.Fatalf("%s: opening a page: %v", name, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		end(ctx)
	})
	p := &tab{t: t, name: name, page: page, ctx: context.Background()}
	page.heard(p)
	p.tell()
	return p
}

// firefoxPath is where Firefox is, or "". PARLEY_FIREFOX names another.
func firefoxPath() string {
	return firstProgram(os.Getenv("PARLEY_FIREFOX"), "firefox", "firefox-esr", "/Applications/Firefox.app/Contents/MacOS/firefox")
}

// theFirefox is the process of the tests that do not need one of their own. TestMain ends it.
var theFirefox struct {
	sync.Once
	f    *firefox
	err  error
	stop func()
}

func sharedFirefox(t *testing.T) *firefox {
	t.Helper()
	needs(t, needFirefox)
	need.Network(t)
	theFirefox.Do(func() {
		home, err := os.MkdirTemp("", "parley-e2e-firefox")
		if err != nil {
			theFirefox.err = err
			return
		}
		f, stop, err := startFirefox("", http.DefaultClient, home, home)
		theFirefox.f, theFirefox.err = f, err
		theFirefox.stop = func() {
			if stop != nil {
				stop()
			}
			os.RemoveAll(home)
		}
	})
	if theFirefox.err != nil {
		t.Fatal(theFirefox.err)
	}
	return theFirefox.f
}
