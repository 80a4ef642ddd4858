package e2e

import (
	"net"
	"net/http/httptest"
	"net/http/httputil"
	"testing"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp/kb"
)

// Somebody who does not allow the camera is told how to, and joins all the same.
func TestCameraRefused(t *testing.T) {
	s := serve(t)
	b := sharedChromium(t)
	ada, bob := b.person(t, "Ada", personOptions{}), b.person(t, "Bob", personOptions{refuse: true})
	link := ada.opensRoom(s.url)
	bob.open(link)
	bob.reads("advice-video", "allow it again")
	bob.goesIn()
	ada.meets("Bob")
	bob.meets("Ada")
	bob.perceives(1)
	bob.says("no camera, sorry")
	ada.hears("no camera, sorry")
}

// Before the browser asks for camera and microphone, the page says what for.
func TestReasonBeforeTheQuestion(t *testing.T) {
	s := serve(t)
	p := sharedChromium(t).person(t, "Ada", personOptions{undecided: true})
	p.open(s.url)
	p.click("new-room")
	p.reads("ask", "your browser is about to ask for camera and microphone")
	if tracks := eval[int](p, find("preview")+".srcObject?.getTracks().length ?? 0"); tracks != 0 {
		t.Errorf("the page has %d tracks before it has asked", tracks)
	}
	p.decides(cdpbrowser.PermissionSettingGranted, "camera", "microphone") // the person's answer to the browser
	p.click("allow")
	p.until("sees herself", find("preview")+"?.videoWidth > 0")
}

// Nor does a computer without camera and microphone keep anybody out.
func TestNoDevices(t *testing.T) {
	needs(t, needChromium)
	s := serve(t)
	ada := sharedChromium(t).person(t, "Ada", personOptions{})
	bob := launch(t, browserOptions{noDevices: true}).person(t, "Bob", personOptions{})
	link := ada.opensRoom(s.url)
	bob.open(link)
	bob.reads("advice-video", "no camera")
	bob.reads("advice-audio", "no microphone")
	bob.goesIn()
	ada.meets("Bob")
	bob.meets("Ada")
	bob.perceives(1)
}

// A page that came over plain http from elsewhere may not use the camera, and says what to do.
func TestInsecurePage(t *testing.T) {
	needs(t, needChromium)
	s := serve(t)
	// A proxy without https before the server.
	front := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", s.addr, s.addr
	}})
	t.Cleanup(front.Close)
	_, port, _ := net.SplitHostPort(front.Listener.Addr().String())
	p := sharedChromium(t).person(t, "Ada", personOptions{}) // which finds proxy.test here
	p.open("http://proxy.test:" + port + "/r/kitchen")
	if eval[bool](p, "isSecureContext") {
		t.Fatal("the page is secure: the test shows nothing")
	}
	p.reads("advice-video", "https://proxy.test")
}

// From the start page into a call and out again with the keyboard alone, and one always sees where the focus is.
func TestKeyboard(t *testing.T) {
	s := serve(t)
	p := sharedChromium(t).person(t, "Ada", personOptions{})
	p.open(s.url)
	p.tabsTo("new-room")
	p.press(kb.Enter)
	p.sees("preview")
	p.tabsTo("name")
	p.press("Ada")
	p.tabsTo("join")
	p.press(kb.Enter)
	p.sees("stage")
	p.tabsTo(muteButton)
	p.press(" ")
	p.until("has muted", find(muteButton)+".dataset.on === 'false'")
	p.tabsTo("leave")
	p.press(kb.Enter)
	p.until("has left", "!"+find("stage")+"?.checkVisibility()")
}

// tabsTo presses Tab until an element has the focus.
func (p *tab) tabsTo(id string) {
	p.t.Helper()
	p.sees(id)
	for range 60 {
		if eval[bool](p, "document.activeElement === "+find(id)) {
			return
		}
		p.press(kb.Tab)
		if !eval[bool](p, `((e) => { const s = getComputedStyle(e); return e === document.body || s.outlineStyle !== 'none' || s.boxShadow !== 'none'; })(document.activeElement)`) {
			p.t.Errorf("%s: one does not see that %s has the focus", p.name, eval[string](p, "document.activeElement.outerHTML.slice(0, 100)"))
		}
	}
	p.t.Fatalf("%s: %s is not reached by Tab", p.name, id)
}
