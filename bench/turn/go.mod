module github.com/parley-rtc/parley/bench/turn

go 1.26.0

require (
	github.com/parley-rtc/parley v0.0.0
	github.com/pion/turn/v5 v5.1.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/pion/dtls/v3 v3.1.8 // indirect
	github.com/pion/logging v0.2.4 // indirect
	github.com/pion/randutil v0.1.0 // indirect
	github.com/pion/stun/v4 v4.0.0 // indirect
	github.com/pion/transport/v4 v4.1.0 // indirect
	github.com/wlynxg/anet v0.0.5 // indirect
	golang.org/x/crypto v0.58.0 // indirect
	golang.org/x/net v0.62.0 // indirect
)

replace github.com/parley-rtc/parley => ../../
