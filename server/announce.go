package server

import (
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/mdp/qrterminal/v3"
)

// welcome is what a person is told at start: how to reach the server, and what works from where.
type welcome struct {
	took        time.Duration
	moved       []string // ports that gave way
	here        string   // address on this machine
	network     []string // addresses for other devices
	internet    []string // addresses for everyone
	trust       string   // page with the local authority, "" if no other device can reach it
	fingerprint string   // of the local authority
	certificate string   // how the certificate for the internet stands, in words
	passphrase  string   // the host's, "" if it does not matter
	kept        string   // file in which the passphrase is kept, "" if it was given
	open        bool
	relay       string // where STUN and TURN are, "" if there are none
	toOpen      string // ports to open in a firewall, "" if the internet is not served
	state       string
}

// What does not work, on every network.
const (
	noRelay = "is off, so about one call in five between different networks cannot connect"
	notYet  = "calls of more than four"
)

func (s *server) announce() {
	w := &welcome{
		took: time.Since(s.started), moved: s.ports.moved, here: s.reach.fromHere(),
		network: s.reach.fromNetwork(), internet: s.reach.fromInternet(),
		fingerprint: s.authority.Fingerprint(), open: s.cfg.Open, state: s.dir.Path(),
	}
	if len(w.network) > 0 {
		w.trust = w.network[0] + trustPath
	}
	if s.turn != nil {
		w.relay = s.turn.describe()
	}
	if s.cfg.public() {
		w.toOpen = s.portsToOpen()
	}
	if s.cfg.public() {
		w.certificate = s.certificateState()
		if w.passphrase = s.passphrase; s.cfg.Passphrase == "" && !s.cfg.Open {
			w.kept = filepath.Join(s.dir.Path(), passphraseFile)
		}
	}
	if s.cfg.Terminal != nil {
		w.print(s.cfg.Terminal)
	} else {
		w.log(s.log)
	}
	if s.cfg.OpenBrowser {
		if err := openBrowser(w.here); err != nil {
			s.log.Warn("no browser could be opened", "error", err)
		}
	}
}

// certificateState says how the certificate for the internet stands.
func (s *server) certificateState() string {
	switch {
	case s.certs.own != nil:
		return "yours, good until " + s.certs.own.current.Load().Leaf.NotAfter.Format(time.DateOnly)
	case s.certs.manager == nil:
		return "the proxy's"
	}
	var parts []string
	for _, c := range s.certs.manager.Status() {
		if c.Certificate == nil {
			parts = append(parts, c.Name+": being asked for; until it is there, browsers warn")
		} else {
			parts = append(parts, c.Name+": good until "+c.Certificate.Leaf.NotAfter.Format(time.DateOnly))
		}
	}
	return strings.Join(parts, "; ")
}

// print writes for a person at a terminal.
func (w *welcome) print(out io.Writer) {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("Parley %s, ready in %.2f s", ReadBuild().Version, w.took.Seconds())
	for _, m := range w.moved {
		line("%s", m)
	}
	line("")
	line("  Open here        %s", w.here)
	far := append(append([]string{}, w.internet...), w.network...)
	for i, address := range far {
		label := ""
		if i == 0 {
			label = "Other devices"
		}
		line("  %-15s  %s", label, address)
	}
	if len(far) > 0 {
		line("")
		qrterminal.GenerateHalfBlock(far[0], qrterminal.L, &indented{out: &b, prefix: "  ", fresh: true})
	}
	line("")
	line("  What works from where")
	for _, f := range w.places() {
		line("  %-15s  %s", f.place, f.text)
	}
	line("")
	if w.passphrase != "" {
		line("  Host passphrase  %s", w.passphrase)
		line("                   Whoever opens a room from the internet is asked for it; guests only need the link.")
	} else if len(w.internet) > 0 && w.open {
		line("  Rooms            anyone on the internet may open them (--open)")
	}
	if w.certificate != "" {
		line("  Certificate      %s", w.certificate)
	}
	if w.toOpen != "" {
		line("  Ports to open    %s", w.toOpen)
	}
	if w.trust != "" {
		line("  No warnings      %s installs this server's own authority on a device", w.trust)
		line("                   SHA-256 %s", w.fingerprint)
	}
	line("  Keys             %s", w.state)
	line("")
	line("  Ctrl-C stops it; calls in progress get time to end.")
	_, _ = io.WriteString(out, b.String()) // a terminal that went away is noticed by what follows
}

type fact struct{ place, text string }

// places say what works from where, and what does not yet.
func (w *welcome) places() []fact {
	list := []fact{{"This machine", "works"}}
	switch {
	case len(w.network) > 0:
		list = append(list, fact{"Local network", "works, after a browser's warning about the certificate that /trust takes away"})
	case len(w.internet) > 0:
		list = append(list, fact{"Local network", "as from the internet"})
	default:
		list = append(list, fact{"Local network", "does not: this machine is on no private network, or https is not open to it"})
	}
	if len(w.internet) > 0 {
		list = append(list, fact{"Internet", "works if its addresses lead here, ports included"})
	} else {
		list = append(list, fact{"Internet", "is not let in; --domain NAME or --public would serve it"})
	}
	if w.relay == "" {
		list = append(list, fact{"Relay", noRelay})
	} else {
		list = append(list, fact{"Relay", w.relay})
	}
	return append(list, fact{"Not yet", notYet})
}

// log writes the same for a program: one record for each fact.
func (w *welcome) log(log *slog.Logger) {
	for _, m := range w.moved {
		log.Warn("port taken", "note", m)
	}
	log.Info("open here", "url", w.here)
	if len(w.network) > 0 {
		log.Info("open from other devices", "urls", w.network)
		log.Info("local authority", "page", w.trust, "sha256", w.fingerprint)
	}
	if len(w.internet) > 0 {
		log.Info("open from the internet", "urls", w.internet)
	}
	for _, p := range w.places() {
		log.Info("works from", "place", strings.ToLower(p.place), "how", p.text)
	}
	switch {
	case w.kept != "":
		log.Info("host passphrase", "file", w.kept)
	case w.passphrase != "":
		log.Info("host passphrase", "from", "configuration")
	case len(w.internet) > 0 && w.open:
		log.Warn("anyone on the internet may open rooms")
	}
	if w.certificate != "" {
		log.Info("certificate", "state", w.certificate)
	}
	if w.toOpen != "" {
		log.Info("ports to open", "ports", w.toOpen)
	}
	log.Info("state", "dir", w.state)
	log.Info("ready", "version", ReadBuild().Version, "seconds", w.took.Seconds())
}

// indented writes each line a little to the right.
type indented struct {
	out    io.Writer
	prefix string
	fresh  bool
}

func (i *indented) Write(p []byte) (int, error) {
	for _, c := range p {
		if i.fresh {
			if _, err := io.WriteString(i.out, i.prefix); err != nil {
				return 0, err
			}
		}
		if _, err := i.out.Write([]byte{c}); err != nil {
			return 0, err
		}
		i.fresh = c == '\n'
	}
	return len(p), nil
}

// openBrowser asks the system to show an address.
func openBrowser(address string) error {
	name, args := "xdg-open", []string{address}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", address}
	}
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() // nothing depends on how it ends, but a process must be waited for
	return nil
}
