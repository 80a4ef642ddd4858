package e2e

import (
	"encoding/json"
	"fmt"
	"testing"
)

// The app, as its users know it. The names are its data-testid marks, listed in web/README.md.

// Buttons whose names other things have too.
const (
	muteButton   = "button[data-testid=audio]"
	cameraButton = "button[data-testid=video]"
	chatButton   = "button[data-testid=chat]"
)

// opensRoom makes a room from the start page and goes in. It returns the room's address on this machine.
func (p *tab) opensRoom(start string) string {
	p.t.Helper()
	p.open(start)
	p.click("new-room")
	p.goesIn()
	return eval[string](p, "location.href")
}

// joins follows a link to a room and goes in.
func (p *tab) joins(link string) {
	p.t.Helper()
	p.open(link)
	p.goesIn()
}

// goesIn goes from the lobby into the call.
func (p *tab) goesIn() {
	p.t.Helper()
	p.fill("name", p.name)
	p.click("join")
	p.sees("stage")
}

// others is the expression of the tiles of the other people.
const others = `document.querySelectorAll('[data-testid="tile"]')`

// meets waits until the tab shows the others and nobody else, by name.
func (p *tab) meets(names ...string) {
	p.t.Helper()
	want, _ := json.Marshal(names)
	p.until(fmt.Sprint("meets ", names), fmt.Sprintf(
		`[...%s].map((t) => t.getAttribute('aria-label')).sort().join() === %s.sort().join()`, others, want))
}

// perceives waits until all n others are seen moving and heard: for each, frames are decoded, the picture's pixels
// change, and sound arrives.
func (p *tab) perceives(n int) {
	p.t.Helper()
	videos := "[..." + others + "].map((t) => t.querySelector('video'))"
	p.until(fmt.Sprintf("has %d videos", n), fmt.Sprintf("((v) => v.length === %d && v.every((e) => e && e.videoWidth > 0))(%s)", n, videos))
	eval[any](p, "e2e.mark("+videos+")")
	p.until(fmt.Sprintf("sees and hears %d others", n), fmt.Sprintf("e2e.progressed(%s, %d)", videos, n))
}

// meet waits until each of the tabs sees and hears all the others.
func meet(tabs ...*tab) {
	for _, p := range tabs {
		p.t.Helper()
		var names []string
		for _, o := range tabs {
			if o != p {
				names = append(names, o.name)
			}
		}
		p.meets(names...)
	}
	for _, p := range tabs {
		p.perceives(len(tabs) - 1)
	}
}

// stillness follows the frames of the other's video from now on. The function that it returns waits until some have
// come, and gives the longest time without one, in milliseconds.
func (p *tab) stillness() func() float64 {
	p.t.Helper()
	const video = `document.querySelector('[data-testid="tile"] video')`
	eval[any](p, "e2e.watchFrames("+video+")")
	p.seesOn()
	return func() float64 {
		p.t.Helper()
		p.seesOn()
		gap := eval[float64](p, "e2e.frames("+video+").gap")
		p.t.Logf("%s saw no frame for %.0f ms at most", p.name, gap)
		return gap
	}
}

// seesOn waits for a second of frames of the other's video, which stillness follows.
func (p *tab) seesOn() {
	p.t.Helper()
	const frames = `e2e.frames(document.querySelector('[data-testid="tile"] video')).frames`
	p.until("sees on", fmt.Sprintf("%s >= %d", frames, eval[int](p, frames)+sceneRate))
}

// says writes into the chat.
func (p *tab) says(words string) {
	p.t.Helper()
	if !eval[bool](p, "!!"+find("chat-input")+"?.checkVisibility()") {
		p.click(chatButton)
	}
	p.fill("chat-input", words)
	p.click("chat-send")
}

// hears waits until words of the others have arrived in the chat.
func (p *tab) hears(words string) {
	p.t.Helper()
	quoted, _ := json.Marshal(words)
	p.until("reads "+words+" in the chat", fmt.Sprintf(
		`[...document.querySelectorAll('[data-testid="chat-message"]')].some((m) => m.textContent.includes(%s))`, quoted))
}

// duo is two people in a call.
func duo(t *testing.T, s string) (link string, ada, bob *tab) {
	t.Helper()
	b := sharedChromium(t)
	ada, bob = b.person(t, "Ada", personOptions{}), b.person(t, "Bob", personOptions{})
	link = ada.opensRoom(s)
	bob.joins(link)
	meet(ada, bob)
	return link, ada, bob
}

// returns waits until the tab is back in the call after its page was loaded again, by way of the lobby if that is
// where the app begins.
func (p *tab) returns() {
	p.t.Helper()
	p.until("is back", find("stage")+"?.checkVisibility() || "+find("join")+"?.checkVisibility()")
	if eval[bool](p, "!!"+find("join")+"?.checkVisibility()") {
		p.click("join")
	}
	p.sees("stage")
}

// invites opens the invitation and returns its link.
func (p *tab) invites() string {
	p.t.Helper()
	if !eval[bool](p, "!!"+find("invite-link")+"?.checkVisibility()") {
		p.click("invite")
	}
	p.sees("invite-link")
	return eval[string](p, find("invite-link")+".value ?? "+find("invite-link")+".textContent.trim()")
}
