package e2e

import (
	"strings"
	"testing"
)

func TestCall(t *testing.T) {
	s := serve(t)
	link, ada, bob := duo(t, s.url)

	ada.says("Good morning, Bob")
	bob.hears("Good morning, Bob")
	bob.says("Good morning, Ada")
	ada.hears("Good morning, Ada")

	b := sharedChromium(t)
	cy, dee := b.person(t, "Cy", personOptions{}), b.person(t, "Dee", personOptions{})
	cy.joins(link)
	dee.joins(link)
	meet(ada, bob, cy, dee)
	cy.says("Four of us")
	for _, p := range []*tab{ada, bob, dee} {
		p.hears("Four of us")
	}

	// A fifth is told, and nobody else notices.
	eve := b.person(t, "Eve", personOptions{})
	eve.open(link)
	eve.fill("name", eve.name)
	eve.click("join")
	eve.reads("[data-code=room-full]", "full")
	ada.meets("Bob", "Cy", "Dee")
	ada.perceives(3)

	// One leaves; there is room again.
	dee.click("leave")
	for _, p := range []*tab{ada, bob, cy} {
		p.until("has lost Dee", others+".length === 2")
	}
}

// Two people with different browsers.
func TestCallAcrossBrowsers(t *testing.T) {
	s := serve(t)
	ada, bob := sharedChromium(t).person(t, "Ada", personOptions{}), sharedFirefox(t).person(t, "Bob", personOptions{})
	bob.open(ada.opensRoom(s.url))
	bob.click("allow") // Firefox gives camera and microphone to who asks, and does not say so before
	bob.goesIn()
	meet(ada, bob)
	bob.says("Good morning, Ada")
	ada.hears("Good morning, Ada")
	ada.says("Good morning, Bob")
	bob.hears("Good morning, Bob")
	bob.click("leave")
	ada.until("has lost Bob", others+".length === 0")
}

// What may happen to two who are in a call, one after the other.
func TestTwoInACall(t *testing.T) {
	s := serve(t)
	link, ada, bob := duo(t, s.url)
	for _, event := range []struct {
		what  string
		takes func(s *server, link string, ada, bob *tab)
	}{
		{"turning off microphone and camera", turningOff},
		{"a second tab", secondTab},
		{"loading the page again", reloading},
		{"the server is killed", serverKilled},
		{"nobody else has heard of it", noThirdParty},
	} {
		ok := t.Run(event.what, func(t *testing.T) {
			ada.t, bob.t = t, t
			event.takes(s, link, ada, bob)
		})
		ada.t, bob.t = t, t
		if !ok {
			return
		}
	}
}

// A second tab of the same browser would howl: it joins with its sound off and says why.
func secondTab(_ *server, link string, ada, bob *tab) {
	again := ada.another("Ada again")
	again.joins(link)
	again.reads("banner-second-tab", "because two side by side would howl")
	again.until("sees the others", others+".length === 2")
	for _, p := range []*tab{ada, bob} {
		p.until("sees the second tab", others+".length === 2")
	}
	again.until("has its sound off", `[...document.querySelectorAll('audio, video')].every((e) => e.muted || e.paused || !e.srcObject?.getAudioTracks().length)`)
	again.until("is silent", `e2e.connections.flatMap((pc) => pc.getSenders()).every((s) => s.track?.kind !== 'audio' || !s.track.enabled)`)
	again.click("leave")
	ada.meets("Bob")
	bob.meets("Ada")
}

// A page that is loaded again is the same person on a new connection: the others do not keep the old tile.
func reloading(_ *server, _ string, ada, bob *tab) {
	bob.reload()
	bob.returns()
	meet(ada, bob)
	bob.says("back again")
	ada.hears("back again")
}

// The server is killed and started again while two talk: they do not notice, and find it again by themselves.
func serverKilled(s *server, link string, ada, bob *tab) {
	// A call that depends on the server stands still each time; a machine that has too much to do, not three times, or while
	// nothing happens too.
	const most = 500 // milliseconds
	for try := 1; ; try++ {
		gap := killInACall(s, ada, bob)
		if gap <= most {
			break
		}
		calm := undisturbed(ada, bob)
		if gap <= 2*calm {
			break
		}
		if try == 3 {
			ada.t.Fatalf("no frame for %.0f ms while the server was gone and came back, for %.0f ms while it was there; at most %d may pass", gap, calm, most)
		}
	}

	ada.says("still here")
	bob.hears("still here")
	cy := sharedChromium(ada.t).person(ada.t, "Cy", personOptions{})
	cy.joins(link)
	meet(ada, bob, cy)
	cy.click("leave")
	ada.meets("Bob")
}

// killInACall kills the server, starts it again when all have noticed, and returns when all have it back. The result is
// the longest time in milliseconds that anyone in the call saw no new frame.
func killInACall(s *server, people ...*tab) (gap float64) {
	s.t.Helper()
	var gaps []func() float64
	for _, p := range people {
		gaps = append(gaps, p.stillness())
	}
	s.kill()
	for _, p := range people {
		p.reads("banner-server", "your call goes on")
		p.seesOn()
	}
	s.start()
	for i, p := range people {
		p.until("has signaling back", find("banner-server")+" === null")
		gap = max(gap, gaps[i]())
	}
	return gap
}

// undisturbed is the same while the server is there, over as many frames.
func undisturbed(people ...*tab) (gap float64) {
	var gaps []func() float64
	for _, p := range people {
		gaps = append(gaps, p.stillness())
	}
	for _, p := range people {
		p.seesOn()
	}
	for _, g := range gaps {
		gap = max(gap, g())
	}
	return gap
}

// What one turns off, the others lose at once, and get again.
func turningOff(_ *server, _ string, ada, bob *tab) {
	ada.click(muteButton)
	bob.until("hears silence", "e2e.silent(2000)")
	ada.click(muteButton)
	bob.perceives(1)

	ada.click(cameraButton)
	bob.until("sees no picture of Ada", `!document.querySelector('[data-testid="tile"] video')?.checkVisibility({visibilityProperty: true, opacityProperty: true})`)
	ada.until("has her camera off", `e2e.connections.flatMap((pc) => pc.getSenders()).every((s) => s.track?.kind !== 'video' || s.track.readyState === 'ended' || !s.track.enabled)`)
	ada.click(cameraButton)
	bob.perceives(1)
}

// The lobby shows oneself and hears oneself, and knows one's name the next time.
func TestLobby(t *testing.T) {
	s := serve(t)
	p := sharedChromium(t).person(t, "Ada", personOptions{})
	p.open(s.url)
	p.click("new-room")
	p.until("sees herself", find("preview")+"?.videoWidth > 0")
	for _, id := range []string{"device-video", "device-audio", "device-speaker"} {
		p.until("can choose "+id, find(id)+".options.length > 0")
	}
	level := find("mic-level") + ".ariaValueNow"
	p.until("sees the level move", "(window.levels ??= new Set()).add("+level+").size > 2")
	p.goesIn()
	p.reload()
	p.returns()
	p.open(s.url)
	p.click("new-room")
	p.until("finds the name again", find("name")+`?.value === "Ada"`)
}

// Networks that break WebSockets, by refusing them or by swallowing what they carry, cost nothing but a moment: Ada is in one,
// Bob in the other.
func TestWebSocketsBlocked(t *testing.T) {
	t.Parallel() // mostly waiting
	s, b := serve(t), sharedChromium(t)
	boxes := map[*tab]*middlebox{}
	person := func(name string, does webSockets) (*tab, string) {
		p, m := b.person(t, name, personOptions{}), newMiddlebox(t, s, does)
		boxes[p] = m
		return p, m.url
	}
	ada, hers := person("Ada", refused)
	bob, his := person("Bob", swallowed)
	bob.joins(his + strings.TrimPrefix(ada.opensRoom(hers), hers))
	meet(ada, bob)
	ada.says("by another way")
	bob.hears("by another way")
	for p, m := range boxes {
		if m.upgrades.Load() == 0 || m.polls.Load() == 0 {
			t.Errorf("%s: %d WebSockets asked for, %d long-poll requests: the test did not see the change", p.name, m.upgrades.Load(), m.polls.Load())
		}
	}
}
