package sdp_test

import (
	"fmt"

	"github.com/parley-rtc/parley/protocol/sdp"
)

func Example() {
	d, err := sdp.Parse("v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n" +
		"m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\na=sctp-port:5000\r\n" +
		"a=candidate:1 1 udp 2122194687 192.0.2.1 40090 typ host generation 0\r\n")
	if err != nil {
		fmt.Println(err)
		return
	}
	candidates, _ := d.Media[0].Candidates()
	fmt.Println(candidates[0].Address, candidates[0].Port, candidates[0].Extension("generation"))
	// Output: 192.0.2.1 40090 0
}
