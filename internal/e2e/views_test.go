package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// views shows each view of the app to visit, as one person sees it who calls one other, and then three. It asks for the
// browser of each of the four.
func views(t *testing.T, browser func(person int) *chromium, visit func(view string, p *tab)) {
	t.Helper()
	s := serve(t)
	ada := browser(0).person(t, "Ada Lovelace", personOptions{})
	ada.open(s.url)
	ada.sees("new-room")
	visit("start", ada)
	ada.click("new-room")
	ada.sees("preview")
	ada.until("sees herself", find("preview")+"?.videoWidth > 0")
	visit("lobby", ada)
	ada.goesIn()
	link := eval[string](ada, "location.href")
	people := []*tab{ada}
	for i, name := range []string{"Grace Hopper", "Alan Turing", "Hedy Lamarr"} {
		p := browser(i+1).person(t, name, personOptions{})
		p.joins(link)
		people = append(people, p)
		if n := len(people); n == 2 || n == 4 {
			meet(people...)
			visit(fmt.Sprint("call-", n), ada)
		}
		if len(people) == 2 {
			ada.says("Good morning! Shall we begin?")
			p.says("Good morning. One minute, I am getting a coffee.")
			ada.hears("coffee")
			visit("call-chat", ada)
			ada.click(chatButton)
		}
	}
	ada.open(s.url + "/trust")
	ada.until("reads", "document.querySelector('h1') !== null")
	visit("trust", ada)
}

// axe-core finds nothing serious in any view, light and wide, dark and narrow.
func TestAccessibility(t *testing.T) {
	need(t, needChromium, needAxe)
	axe, err := os.ReadFile(axePath())
	if err != nil {
		t.Fatal(err)
	}
	views(t, func(int) *chromium { return sharedChromium(t) }, func(view string, p *tab) {
		eval[chromedp.Void](p, string(axe))
		for _, look := range []struct {
			dark  bool
			width int64
		}{{false, 1280}, {true, 390}} {
			p.dark(look.dark)
			p.resize(look.width, 800)
			p.settles()
			found := eval[string](p, `axe.run(document, {resultTypes: ['violations']}).then((r) => JSON.stringify(
				r.violations.filter((v) => v.impact === 'serious' || v.impact === 'critical')
					.map((v) => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.map((n) => n.html + ' ' + n.failureSummary)}))))`)
			var violations []struct {
				ID, Impact, Help string
				Nodes            []string
			}
			if err := json.Unmarshal([]byte(found), &violations); err != nil {
				t.Fatal(err)
			}
			for _, v := range violations {
				t.Errorf("%s, dark %t, %d wide: %s (%s): %s\n%q", view, look.dark, look.width, v.ID, v.Impact, v.Help, v.Nodes)
			}
		}
		p.dark(false)
		p.resize(1280, 800)
	})
}

// Pictures of every view, for people to look at. PARLEY_SCREENSHOTS names the folder that they are kept in.
func TestScreenshots(t *testing.T) {
	need(t, needChromium)
	dir := os.Getenv("PARLEY_SCREENSHOTS")
	if dir == "" {
		dir = t.ArtifactDir()
	}
	cameras := func(person int) *chromium {
		view := scene{width: 640, height: 360, hue: []float64{0.32, -0.06, 0.12, -0.2}[person]}
		return launch(t, browserOptions{camera: view.film(t, filepath.Join(t.TempDir(), "Camera.y4m"))})
	}
	views(t, cameras, func(view string, p *tab) {
		for _, scheme := range []string{"light", "dark"} {
			p.dark(scheme == "dark")
			for _, size := range [][2]int64{{390, 844}, {1280, 800}} {
				p.resize(size[0], size[1])
				p.settles()
				if over := eval[int](p, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
					t.Errorf("%s is %d pixels wider than a screen of %d", view, over, size[0])
				}
				file := filepath.Join(dir, fmt.Sprintf("%s-%dx%d-%s.png", view, size[0], size[1], scheme))
				if err := os.WriteFile(file, p.shot(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		p.dark(false)
		p.resize(1280, 800)
	})
	t.Logf("screenshots are in %s", dir)
}
