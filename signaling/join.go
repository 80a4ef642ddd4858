package signaling

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"slices"
	"time"
)

// join gives the client of r a seat, or says why not.
func (h *Hub) join(r *http.Request, access Access, j *Join, kind carrierKind) (*seat, *carrier, *Welcome, *Error) {
	s, c, peers, refusal := h.sit(access, j, kind)
	if refusal != nil {
		return nil, nil, nil, refusal
	}
	// Credentials are made for those only who were let in.
	w := &Welcome{
		Session:   s.session,
		Self:      Peer{ID: PeerID(j.Room, j.Secret), Name: j.Name, State: j.State},
		Peers:     peers,
		Link:      h.cfg.Link(r, j.Room),
		ResumeFor: int(h.cfg.ResumeFor / time.Second),
		Limits: Limits{
			MessageSize:  h.cfg.MessageSize,
			Rate:         h.cfg.Rate,
			Burst:        h.cfg.Burst,
			PeersPerRoom: h.cfg.MaxPeersPerRoom,
		},
	}
	w.Token = h.tokens.make(j.Room, w.Self.ID)
	servers := h.cfg.ICEServers(s.name(), r)
	if w.ICEServers = servers(); w.ICEServers == nil {
		w.ICEServers = []ICEServer{}
	}
	if h.cfg.ICERenewal > 0 && len(w.ICEServers) > 0 {
		h.mu.Lock()
		defer h.unlock()
		s.iceServers, s.ice = servers, time.Now().Add(h.cfg.ICERenewal)
		if h.sessions[s.session] == s {
			h.schedule(s)
		}
	}
	return s, c, w, nil
}

// sit decides under the lock, and makes the seat.
func (h *Hub) sit(access Access, j *Join, kind carrierKind) (*seat, *carrier, []Peer, *Error) {
	h.mu.Lock()
	defer h.unlock()
	now := time.Now()
	a := h.addresses.get(access.Addr)
	if w := a.joins.take(now, float64(h.cfg.JoinRate)/60, h.cfg.JoinRate); w > 0 {
		return nil, nil, nil, h.refuse(CodeTooManyAttempts, seconds(w), "too many joins from this address within a minute: wait a little and try again")
	}
	if h.draining {
		return nil, nil, nil, h.refuse(CodeDraining, drainRetry, "the server is stopping: try again in a moment")
	}
	r := h.rooms[j.Room]
	peer := Peer{ID: PeerID(j.Room, j.Secret), Name: j.Name, State: j.State}
	if e := h.admit(access, a, j, peer.ID, r != nil, now); e != nil {
		return nil, nil, nil, e
	}

	s := &seat{peer: peer, session: randomHandle(), id: randomHandle(), address: a, token: now.Add(tokenFresh)}
	var old *seat
	if r != nil {
		old = r.find(peer.ID)
	}
	switch {
	case old != nil:
		h.vacate(old, h.refuse(CodeSessionReplaced, 0, "this participant joined again elsewhere"))
		r.seats[slices.Index(r.seats, old)] = s
	case r != nil && len(r.seats) >= h.cfg.MaxPeersPerRoom:
		return nil, nil, nil, h.refuse(CodeRoomFull, 0, "the room is full: ask somebody to leave it, or use another room")
	case r == nil && len(h.rooms) >= h.cfg.MaxRooms:
		return nil, nil, nil, h.refuse(CodeTooManyRooms, 30, "the server has as many rooms as it may: try again later")
	case len(h.sessions) >= h.cfg.MaxPeers || a.seats >= h.cfg.MaxPeersPerAddr:
		return nil, nil, nil, h.refuse(CodeTooManyPeers, 30, "the server has as many participants as it may: try again later")
	case r == nil:
		r = &room{name: j.Room}
		h.rooms[j.Room] = r
		fallthrough
	default:
		r.seats = append(r.seats, s)
	}
	s.room = r
	a.seats++
	h.sessions[s.session] = s
	h.stats.Sessions++
	c := s.attach(kind, 0)
	if kind == longPoll {
		c.requests, s.requests = 1, 1
	}
	h.schedule(s)
	h.log("joined", j.Room, peer.ID)

	peers := []Peer{}
	for _, o := range r.others(s) {
		peers = append(peers, o.peer)
		if old != nil {
			h.push(o, &Presence{From: peer.ID, Name: peer.Name, State: peer.State})
		} else {
			h.push(o, &Joined{Peer: peer})
		}
	}
	return s, c, peers, nil
}

// admit says why a client may not enter: docs/signaling.md, "Who may join".
func (h *Hub) admit(access Access, a *address, j *Join, peer string, open bool, now time.Time) *Error {
	if access.Local || h.cfg.Open {
		return nil
	}
	if j.Token != "" && h.tokens.verify(j.Token, j.Room, peer) == nil {
		return nil
	}
	if j.Passphrase != "" && h.cfg.Passphrase != "" {
		return h.checkPassphrase(a, j.Passphrase, now)
	}
	if open && MintedRoomName(j.Room) {
		return nil
	}
	switch {
	case j.Token != "":
		return h.refuse(CodeTokenInvalid, 0, "the proof that this client was let in has expired or is not for this room: join without it")
	case !MintedRoomName(j.Room):
		return h.refuse(CodePassphraseRequired, 0, "from the internet this room needs the host's passphrase")
	}
	return h.refuse(CodeRoomNotOpen, 5, "the host is not there yet: wait and try again, or open the room with the host's passphrase")
}

// checkPassphrase says why something is not the host's passphrase.
func (h *Hub) checkPassphrase(a *address, said string, now time.Time) *Error {
	rate := float64(h.cfg.PassphraseRate) / 60
	if w := a.wrong.wait(now, rate, h.cfg.PassphraseRate); w > 0 {
		return h.refuse(CodeTooManyAttempts, seconds(w), "too many wrong passphrases from this address: wait a little and try again")
	}
	if h.cfg.Passphrase != "" && sameSecret(said, h.cfg.Passphrase) {
		return nil
	}
	a.wrong.take(now, rate, h.cfg.PassphraseRate)
	return h.refuse(CodePassphraseWrong, 0, "this is not the host's passphrase: the server shows it at start, and keeps it in the file passphrase of its state folder")
}

// CheckPassphrase returns nil if said is the host's passphrase, for what only hosts may do outside of rooms. Wrong ones count together with
// those of joins from the same address.
func (h *Hub) CheckPassphrase(from netip.Addr, said string) *Error {
	h.mu.Lock()
	defer h.unlock()
	return h.checkPassphrase(h.addresses.get(from), said, time.Now())
}

// sameSecret compares in a time that tells nothing of either.
func sameSecret(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
