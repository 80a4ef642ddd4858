//go:build !linux

package udp

// forms is every form that works here.
func forms() []form { return []form{connForm} }

func openErrors(cfg Config) map[string]error {
	_, err := OpenConn(0, cfg)
	return map[string]error{"Conn": err}
}
