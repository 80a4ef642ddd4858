package payload

// Opus is RFC 7587: one Opus packet (RFC 6716 section 3) is one payload, at a clock of 48000 Hz.
type Opus struct{}

// OpusClock is the rate of Opus's timestamps, in Hz, whatever it was sampled at (RFC 7587 section 4.1).
const OpusClock = 48000

const (
	opusMaxDuration = 120 * OpusClock / 1000 // RFC 6716 section 3.2.5, requirement R5
	opusMaxFrame    = 1275                   // requirement R2
)

// Parse tells how long a packet lasts, and refuses what cannot be decoded (RFC 6716 section 3.4).
func (Opus) Parse(payload []byte) (Part, error) {
	p, err := ParseOpus(payload)
	return Part{Start: true, End: true, KeyFrame: true, Duration: p.Duration}, err
}

// AppendFrame appends the only payload.
func (Opus) AppendFrame(dst []byte, payloads [][]byte) ([]byte, error) {
	return appendSingle(Opus{}, dst, payloads)
}

// KeyFrame is true.
func (Opus) KeyFrame([]byte) bool { return true }

// NewPacketizer returns a packetizer that makes one payload of each frame.
func (Opus) NewPacketizer(uint32) Packetizer { return &whole{format: Opus{}} }

// An OpusPacket is what the head of a packet of Opus tells (RFC 6716 section 3.1).
type OpusPacket struct {
	Duration uint32 // of the whole packet, in ticks of 48000 Hz: 120 to 5760
	Frames   int    // 1 to 48
	Stereo   bool
	// Empty says that no frame has a byte: the encoder found nothing worth sending (RFC 7587 section 3.1.3, DTX), and decoders
	// fill the time.
	Empty bool
}

// ParseOpus reads the head of a packet and the lengths of its frames.
func ParseOpus(b []byte) (p OpusPacket, err error) {
	if len(b) == 0 {
		return p, ErrEmpty
	}
	frame := opusFrameDuration(b[0] >> 3)
	p.Stereo = b[0]&4 != 0
	rest := b[1:]
	switch b[0] & 3 {
	case 0: // one frame
		p.Frames, p.Empty = 1, len(rest) == 0
		err = checkOpusFrame(len(rest))
	case 1: // two of one size (requirement R3)
		p.Frames, p.Empty = 2, len(rest) == 0
		if len(rest)%2 != 0 {
			return OpusPacket{}, ErrMalformed
		}
		err = checkOpusFrame(len(rest) / 2)
	case 2: // two, the first one's size before them (requirement R4)
		n, size := opusLength(rest)
		if size == 0 || n > len(rest)-size {
			return OpusPacket{}, ErrMalformed
		}
		p.Frames, p.Empty = 2, len(rest) == size
		err = checkOpusFrame(len(rest) - size - n)
	case 3:
		p.Frames, p.Empty, err = opusMany(rest)
	}
	p.Duration = frame * uint32(p.Frames)
	if err != nil || p.Duration > opusMaxDuration {
		return OpusPacket{}, ErrMalformed
	}
	return p, nil
}

func checkOpusFrame(n int) error {
	if n > opusMaxFrame {
		return ErrMalformed
	}
	return nil
}

// opusMany reads a packet of code 3, which counts its frames (RFC 6716 section 3.2.5, requirements R6 and R7).
func opusMany(b []byte) (frames int, empty bool, err error) {
	if len(b) == 0 {
		return 0, false, ErrMalformed
	}
	variable, padded := b[0]&0x80 != 0, b[0]&0x40 != 0
	if frames = int(b[0] & 0x3f); frames == 0 {
		return 0, false, ErrMalformed
	}
	b = b[1:]
	padding := 0
	for more := padded; more; {
		if len(b) == 0 {
			return 0, false, ErrMalformed
		}
		if more = b[0] == 255; more {
			padding += 254
		} else {
			padding += int(b[0])
		}
		b = b[1:]
	}
	if padding > len(b) {
		return 0, false, ErrMalformed
	}
	b = b[:len(b)-padding]
	if !variable {
		if len(b)%frames != 0 {
			return 0, false, ErrMalformed
		}
		return frames, len(b) == 0, checkOpusFrame(len(b) / frames)
	}
	sum := 0
	for range frames - 1 {
		n, size := opusLength(b)
		if size == 0 {
			return 0, false, ErrMalformed
		}
		sum += n
		b = b[size:]
	}
	if sum > len(b) {
		return 0, false, ErrMalformed
	}
	return frames, len(b) == 0, checkOpusFrame(len(b) - sum)
}

// opusLength reads the length of a frame (RFC 6716 section 3.2.1) and of how many bytes it is, 0 if cut off.
func opusLength(b []byte) (n, size int) {
	switch {
	case len(b) > 0 && b[0] < 252:
		return int(b[0]), 1
	case len(b) > 1:
		return int(b[0]) + 4*int(b[1]), 2
	}
	return 0, 0
}

// opusFrameDuration is how long one frame of a configuration lasts (RFC 6716 section 3.1, table 2).
func opusFrameDuration(config byte) uint32 {
	const ms = OpusClock / 1000
	switch {
	case config < 12: // SILK
		return [...]uint32{10 * ms, 20 * ms, 40 * ms, 60 * ms}[config&3]
	case config < 16: // hybrid
		return [...]uint32{10 * ms, 20 * ms}[config&1]
	}
	return [...]uint32{ms * 5 / 2, 5 * ms, 10 * ms, 20 * ms}[config&3] // CELT
}

// A whole is the packetizer of formats whose frames are never cut.
type whole struct {
	format Format
	frame  []byte
}

func (w *whole) Begin(f *Frame, limit Limit) error {
	w.frame = nil
	if _, err := w.format.Parse(f.Data); err != nil {
		return err
	}
	if len(f.Data) > limit.Max-limit.First-limit.Last {
		return ErrLimit
	}
	w.frame = f.Data
	return nil
}

func (w *whole) Append(dst []byte) ([]byte, bool) {
	dst = append(dst, w.frame...)
	w.frame = nil
	return dst, false
}

// appendSingle is AppendFrame of these formats.
func appendSingle(f Format, dst []byte, payloads [][]byte) ([]byte, error) {
	if len(payloads) != 1 {
		return dst, ErrIncomplete
	}
	if _, err := f.Parse(payloads[0]); err != nil {
		return dst, err
	}
	return append(dst, payloads[0]...), nil
}
