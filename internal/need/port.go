package need

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// The ports that [Port] gives lie below those from which systems give one to who asks for any (32768 and up on Linux, 49152
// and up elsewhere): none of them is taken by chance before the program is there that was told it.
const firstPort, lastPort = 20000, 32000

var (
	givenLock sync.Mutex
	given     = map[int]bool{}
)

// Port returns an even port of loopback, for a program that must be told one. Nobody has it nor the one above it, on UDP or TCP.
// What can listen on port 0 and say what it got needs no such port.
func Port(t testing.TB) int {
	t.Helper()
	givenLock.Lock()
	defer givenLock.Unlock()
	for range 1000 {
		port := firstPort + 2*rand.IntN((lastPort-firstPort)/2)
		if !given[port] && free(port) && free(port+1) {
			given[port] = true
			return port
		}
	}
	t.Fatalf("no two free ports beside each other from %d to %d", firstPort, lastPort)
	return 0
}

func free(port int) bool {
	loopback := net.IPv4(127, 0, 0, 1)
	datagrams, err := net.ListenUDP("udp4", &net.UDPAddr{IP: loopback, Port: port})
	if err != nil {
		return false
	}
	defer datagrams.Close()
	streams, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: loopback, Port: port})
	if err != nil {
		return false
	}
	streams.Close()
	return true
}
