package payload

// PCMU and PCMA are G.711 (RFC 3551 section 4.5.14): a byte is a sample, at a clock of 8000 Hz.
type (
	PCMU struct{}
	PCMA struct{}
)

// Parse tells how long the payload lasts: a tick for each byte.
func (PCMU) Parse(payload []byte) (Part, error) { return parseG711(payload) }

// AppendFrame appends the only payload.
func (PCMU) AppendFrame(dst []byte, payloads [][]byte) ([]byte, error) {
	return appendSingle(PCMU{}, dst, payloads)
}

// KeyFrame is true.
func (PCMU) KeyFrame([]byte) bool { return true }

// NewPacketizer returns a packetizer that makes one payload of each frame.
func (PCMU) NewPacketizer(uint32) Packetizer { return &whole{format: PCMU{}} }

// Parse tells how long the payload lasts: a tick for each byte.
func (PCMA) Parse(payload []byte) (Part, error) { return parseG711(payload) }

// AppendFrame appends the only payload.
func (PCMA) AppendFrame(dst []byte, payloads [][]byte) ([]byte, error) {
	return appendSingle(PCMA{}, dst, payloads)
}

// KeyFrame is true.
func (PCMA) KeyFrame([]byte) bool { return true }

// NewPacketizer returns a packetizer that makes one payload of each frame.
func (PCMA) NewPacketizer(uint32) Packetizer { return &whole{format: PCMA{}} }

func parseG711(payload []byte) (Part, error) {
	if len(payload) == 0 {
		return Part{}, ErrEmpty
	}
	return Part{Start: true, End: true, KeyFrame: true, Duration: uint32(len(payload))}, nil
}
