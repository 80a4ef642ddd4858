package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// views shows each view of the app to visit, as one person sees it who calls one other, and then three. Each of
// them has a browser and a camera of their own, of that height.
func views(t *testing.T, height int, visit func(view string, p *tab)) {
	t.Helper()
	browser := func(person int) *chromium {
		view := scene{width: height * 16 / 9, height: height, hue: []float64{0.32, -0.06, 0.12, -0.2}[person]}
		return launch(t, browserOptions{camera: view.film(t, filepath.Join(t.TempDir(), "Camera.y4m"))})
	}
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

// TestViews visits every view. axe-core finds nothing serious in them, light and wide, dark and narrow; nothing is wider
// than the screen; and pictures of them are made for people to look at, in the folder that PARLEY_SCREENSHOTS names.
func TestViews(t *testing.T) {
	needs(t, needChromium)
	dir, height := os.Getenv("PARLEY_SCREENSHOTS"), 180
	if dir != "" {
		height = 270
	}
	axe, _ := os.ReadFile(axePath()) // who does not have it is told at the end
	var violations []string
	views(t, height, func(view string, p *tab) {
		if axe != nil {
			eval[any](p, string(axe)+"; 0")
		}
		for _, look := range []struct {
			width, height int64
			dark          bool
		}{{1280, 800, false}, {390, 844, false}, {1280, 800, true}, {390, 844, true}} {
			scheme := "light"
			if look.dark {
				scheme = "dark"
			}
			name := fmt.Sprintf("%s-%dx%d-%s", view, look.width, look.height, scheme)
			p.dark(look.dark)
			p.resize(look.width, look.height)
			p.settles()
			if over := eval[int](p, "document.documentElement.scrollWidth - innerWidth"); over > 0 {
				t.Errorf("%s is %d pixels wider than the screen", name, over)
			}
			if dir != "" {
				if err := os.WriteFile(filepath.Join(dir, name+".png"), p.shot(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if axe != nil && look.dark == (look.width < 500) {
				for _, v := range p.violations() {
					violations = append(violations, name+": "+v)
				}
			}
		}
		p.dark(false)
		p.resize(1280, 800)
	})
	t.Run("accessibility", func(t *testing.T) {
		needs(t, needAxe)
		for _, v := range violations {
			t.Error(v)
		}
	})
}

// violations is what axe-core finds serious or critical.
func (p *tab) violations() []string {
	p.t.Helper()
	return eval[[]string](p, `axe.run(document, {resultTypes: ['violations']}).then((r) => r.violations
		.filter((v) => v.impact === 'serious' || v.impact === 'critical')
		.map((v) => v.id + ' (' + v.impact + '): ' + v.help + ': ' + v.nodes.map((n) => n.html + ' ' + n.failureSummary).join('; ')))`)
}
