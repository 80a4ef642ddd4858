// Natlab is one end of a connectivity test in a laboratory of network namespaces with NATs and firewalls: it meets the
// other end over a line-JSON signaling server, connects with trickle ICE, says ping and hears pong over a data channel,
// and prints what happened as one line of JSON.
//
//	natlab -room r -mode stun|turn-udp|turn-tcp|turns [-sig ADDR,...] [-turn HOST,...] [-proxy HOST:PORT] [-timeout 12s]
//
// The modes are cumulative: turns has STUN and TURN over udp, tcp and tls.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/parley-rtc/parley/webrtc"
)

// A result is what is printed. Times are in milliseconds from when both ends were there.
type result struct {
	OK        bool     `json:"ok"`
	Role      string   `json:"role"`
	ICE       float64  `json:"ice_ms,omitempty"`
	DTLS      float64  `json:"dtls_ms,omitempty"`
	Channel   float64  `json:"dc_ms,omitempty"`
	Described float64  `json:"described_ms,omitempty"` // both descriptions are known
	Open      float64  `json:"open_ms,omitempty"`      // the channel is open, from when both descriptions were known
	Gathered  float64  `json:"gather_ms,omitempty"`
	Local     string   `json:"local,omitempty"`
	Remote    string   `json:"remote,omitempty"`
	LT        string   `json:"lt,omitempty"`
	RT        string   `json:"rt,omitempty"`
	State     string   `json:"state"`
	Err       string   `json:"err,omitempty"`
	Cands     []string `json:"cands,omitempty"`
}

// A message is a line of the signaling.
type message struct {
	Start string                     `json:"start,omitempty"`
	SDP   *webrtc.SessionDescription `json:"sdp,omitempty"`
	Cand  *webrtc.ICECandidate       `json:"cand,omitempty"`
}

func main() {
	room := flag.String("room", "r", "the room to meet in")
	mode := flag.String("mode", "stun", "what servers to use")
	sig := flag.String("sig", "203.0.113.5:443,[2001:db8:113::5]:443", "where signaling is, tried in this order")
	turn := flag.String("turn", "203.0.113.10,[2001:db8:113::10]", "hosts of STUN and TURN servers, user lab, password labpass")
	proxy := flag.String("proxy", "", "an HTTP proxy that knows CONNECT")
	timeout := flag.Duration("timeout", 12*time.Second, "when to give up")
	relay := flag.Bool("relay", false, "relayed candidates only")
	candidates := flag.Bool("cands", false, "print our candidates")
	flag.Parse()

	var res result
	var mu sync.Mutex
	err := run(&res, &mu, *room, *mode, *sig, *turn, *proxy, *timeout, *relay)
	mu.Lock()
	defer mu.Unlock()
	if res.OK = err == nil; err != nil {
		res.Err = err.Error()
	}
	if !*candidates {
		res.Cands = nil
	}
	json.NewEncoder(os.Stdout).Encode(&res)
}

func run(res *result, mu *sync.Mutex, room, mode, sig, turn, proxy string, timeout time.Duration, relay bool) error {
	conn, err := meet(strings.Split(sig, ","), proxy)
	if err != nil {
		return fmt.Errorf("signaling: %w", err)
	}
	defer conn.Close()
	send := func(m message) {
		b, _ := json.Marshal(m)
		conn.Write(append(b, '\n')) // one write for each line; if it fails, so does reading
	}
	fmt.Fprintf(conn, "{\"room\":%q}\n", room)
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 1<<20)
	next := func() (m message, err error) {
		if !lines.Scan() {
			return m, errors.Join(errors.New("signaling ended"), lines.Err())
		}
		return m, json.Unmarshal(lines.Bytes(), &m)
	}
	conn.SetReadDeadline(time.Now().Add(time.Minute)) // the other end may be a browser that starts
	first, err := next()
	if err != nil {
		return fmt.Errorf("the other end did not come: %w", err)
	}
	conn.SetReadDeadline(time.Time{})
	start := time.Now()
	since := func() float64 { return float64(time.Since(start).Microseconds()) / 1000 }
	set := func(f func()) {
		mu.Lock()
		defer mu.Unlock()
		f()
	}
	set(func() { res.Role = first.Start })

	if proxy != "" {
		os.Setenv("HTTPS_PROXY", "http://"+proxy)
	}
	pc, err := webrtc.NewPeerConnection(configuration(mode, strings.Split(turn, ","), relay))
	if err != nil {
		return err
	}
	defer pc.Close()
	done, failed := make(chan struct{}), make(chan error, 8)
	var once sync.Once
	talk := func(ch *webrtc.DataChannel) {
		ch.OnOpen(func() {
			set(func() { res.Open = since() - res.Described })
			ch.SendText("ping")
		})
		ch.OnMessage(func(m webrtc.Message) {
			if m.Text() == "ping" {
				ch.SendText("pong")
				return
			}
			once.Do(func() {
				set(func() { res.Channel = since() })
				close(done)
			})
		})
	}
	pc.OnDataChannel(talk)
	pc.OnICECandidate(func(c *webrtc.ICECandidate) {
		if c != nil {
			set(func() { res.Cands = append(res.Cands, c.Candidate) })
			send(message{Cand: c})
		}
	})
	pc.OnICEGatheringStateChange(func(s webrtc.ICEGatheringState) {
		if s == webrtc.ICEGatheringStateComplete {
			set(func() { res.Gathered = since() })
		}
	})
	pc.OnICEConnectionStateChange(func(s webrtc.ICEConnectionState) {
		if s == webrtc.ICEConnectionStateConnected {
			set(func() {
				if res.ICE == 0 {
					res.ICE = since()
				}
			})
		}
		if s == webrtc.ICEConnectionStateFailed {
			failed <- errors.New("ice failed")
		}
	})
	pc.OnConnectionStateChange(func(s webrtc.PeerConnectionState) {
		set(func() {
			res.State = string(s)
			if s == webrtc.PeerConnectionStateConnected && res.DTLS == 0 {
				res.DTLS = since()
			}
		})
	})

	go func() {
		var early []*webrtc.ICECandidate
		for {
			m, err := next()
			if err != nil {
				return
			}
			switch {
			case m.SDP != nil:
				if err := pc.SetRemoteDescription(*m.SDP); err != nil {
					failed <- err
					return
				}
				if m.SDP.Type == webrtc.SDPTypeOffer {
					if err := pc.SetLocalDescription(nil); err != nil {
						failed <- err
						return
					}
					send(message{SDP: pc.LocalDescription()})
				}
				set(func() { res.Described = since() })
				for _, c := range early {
					pc.AddICECandidate(c)
				}
				early = nil
			case m.Cand != nil && pc.RemoteDescription() == nil:
				early = append(early, m.Cand)
			case m.Cand != nil:
				if err := pc.AddICECandidate(m.Cand); err != nil {
					failed <- err
				}
			}
		}
	}()
	if first.Start == "offer" {
		ch, err := pc.CreateDataChannel("lab", nil)
		if err != nil {
			return err
		}
		talk(ch)
		if err := pc.SetLocalDescription(nil); err != nil {
			return err
		}
		send(message{SDP: pc.LocalDescription()})
	}
	select {
	case <-done:
		time.Sleep(300 * time.Millisecond) // the other end is not done yet, and the pair may change for a better one
	case err = <-failed:
	case <-time.After(timeout):
		err = errors.New("timeout")
	}
	if s := pc.SCTP(); s != nil {
		if p := s.Transport().ICETransport().GetSelectedCandidatePair(); p != nil {
			set(func() {
				res.LT, res.RT = p.Local.Type(), p.Remote.Type()
				if r := p.Local.RelayProtocol(); r != "" {
					res.LT += "(" + r + ")"
				}
				res.Local = net.JoinHostPort(p.Local.Address(), fmt.Sprint(p.Local.Port()))
				res.Remote = net.JoinHostPort(p.Remote.Address(), fmt.Sprint(p.Remote.Port()))
			})
		}
	}
	return err
}

func configuration(mode string, hosts []string, relay bool) webrtc.Configuration {
	var cfg webrtc.Configuration
	for _, h := range hosts {
		cfg.ICEServers = append(cfg.ICEServers, webrtc.ICEServer{URLs: []string{"stun:" + h + ":3478"}})
		var urls []string
		switch mode {
		case "turns":
			urls = append(urls, "turns:"+h+":443?transport=tcp")
			fallthrough
		case "turn-tcp":
			urls = append(urls, "turn:"+h+":3478?transport=tcp")
			fallthrough
		case "turn-udp":
			urls = append(urls, "turn:"+h+":3478?transport=udp")
		}
		if urls != nil {
			cfg.ICEServers = append(cfg.ICEServers, webrtc.ICEServer{URLs: urls, Username: "lab", Credential: "labpass"})
		}
	}
	if relay {
		cfg.ICETransportPolicy = webrtc.ICETransportPolicyRelay
	}
	return cfg
}

// meet connects to the first signaling address that answers.
func meet(addrs []string, proxy string) (conn net.Conn, err error) {
	for _, a := range addrs {
		if proxy == "" {
			conn, err = net.DialTimeout("tcp", a, 3*time.Second)
		} else {
			conn, err = connect(proxy, a)
		}
		if err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// connect opens a connection through a proxy (RFC 9110 section 9.3.6). What follows the answer's header stays in the
// connection: it is read byte by byte.
func connect(proxy, addr string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(addr); err != nil {
		return nil, err
	}
	conn, err := net.DialTimeout("tcp", proxy, 3*time.Second)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", addr)
	var header []byte
	for one := make([]byte, 1); !strings.HasSuffix(string(header), "\r\n\r\n"); header = append(header, one[0]) {
		if _, err := conn.Read(one); err != nil || len(header) > 4096 {
			conn.Close()
			return nil, fmt.Errorf("proxy: %w", errors.Join(err, errors.New("no answer to CONNECT")))
		}
	}
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(header))), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		conn.Close()
		return nil, fmt.Errorf("proxy: CONNECT was refused: %.100s", header)
	}
	return conn, nil
}
