package rtp

import "encoding/binary"

const (
	// MaxStreams and MaxSpatialLayers bound what a VideoLayers can tell of.
	MaxStreams       = 4
	MaxSpatialLayers = 4
	maxTemporal      = 4
)

// VideoLayers is what a sender of simulcast or scalable video sends just now (video-layers-allocation00).
type VideoLayers struct {
	Stream  uint8 // which of the streams this packet is of, from 0 on
	Streams uint8 // how many there are, 1 to 4; 0: nothing is sent at all
	// Layers are the active spatial layers by stream and layer. One without bitrates is not active.
	Layers [MaxStreams][MaxSpatialLayers]SpatialLayer
	// Sizes says whether the layers' sizes and frame rates are told.
	Sizes bool
}

// SpatialLayer is one of them.
type SpatialLayer struct {
	Temporal      uint8               // how many temporal layers it has, 1 to 4; 0: it is not active
	Bitrates      [maxTemporal]uint32 // of each temporal layer with those below it, in kbit/s
	Width, Height int                 // 1 to 65536
	MaxFramerate  uint8               // pictures a second
}

// ParseVideoLayers reads a value of URIVideoLayers.
func ParseVideoLayers(b []byte) (v VideoLayers, ok bool) {
	if len(b) == 0 {
		return v, false
	}
	if len(b) == 1 && b[0] == 0 { // nothing is sent
		return v, true
	}
	v.Stream, v.Streams = b[0]>>6, b[0]>>4&3+1
	if v.Stream >= v.Streams {
		return v, false
	}
	var active [MaxStreams]uint8 // bits of the spatial layers
	shared := b[0] & 0x0f
	b = b[1:]
	if shared == 0 {
		n := (int(v.Streams) + 1) / 2
		if len(b) < n {
			return v, false
		}
		for s := range v.Streams {
			active[s] = b[s/2] >> (4 * (1 - s%2)) & 0x0f
		}
		b = b[n:]
	} else {
		for s := range v.Streams {
			active[s] = shared
		}
	}
	// Two bits for each active layer, four layers to a byte.
	count := 0
	for s := range v.Streams {
		for l := range v.Layers[s] {
			if active[s]&(1<<l) == 0 {
				continue
			}
			if count/4 >= len(b) {
				return v, false
			}
			v.Layers[s][l].Temporal = b[count/4]>>(6-2*(count%4))&3 + 1
			count++
		}
	}
	if count == 0 {
		return v, false
	}
	b = b[(count+3)/4:]
	for s := range v.Layers {
		for l := range v.Layers[s] {
			layer := &v.Layers[s][l]
			for t := range layer.Temporal {
				if layer.Bitrates[t], b, ok = readLEB128(b); !ok {
					return v, false
				}
			}
		}
	}
	if len(b) == 0 {
		return v, true
	}
	if len(b) < 5*count {
		return v, false
	}
	v.Sizes = true
	for s := range v.Layers {
		for l := range v.Layers[s] {
			if layer := &v.Layers[s][l]; layer.Temporal > 0 {
				layer.Width, layer.Height = int(binary.BigEndian.Uint16(b))+1, int(binary.BigEndian.Uint16(b[2:]))+1
				layer.MaxFramerate = b[4]
				b = b[5:]
			}
		}
	}
	return v, true
}

// Append writes the value. What lies outside its bounds is cut off.
func (v *VideoLayers) Append(dst []byte) []byte {
	var active [MaxStreams]uint8
	streams := min(v.Streams, MaxStreams)
	some, alike := uint8(0), true
	for s := range streams {
		for l := range v.Layers[s] {
			if v.Layers[s][l].Temporal > 0 {
				active[s] |= 1 << l
			}
		}
		some |= active[s]
		alike = alike && active[s] == active[0]
	}
	if some == 0 {
		return append(dst, 0)
	}
	first := v.Stream<<6 | (streams-1)<<4
	if alike {
		dst = append(dst, first|active[0])
	} else {
		dst = append(dst, first, active[0]<<4|active[1])
		if streams > 2 {
			dst = append(dst, active[2]<<4|active[3])
		}
	}
	count := 0
	for layer := range v.active(streams) {
		if count%4 == 0 {
			dst = append(dst, 0)
		}
		dst[len(dst)-1] |= (min(layer.Temporal, maxTemporal) - 1) << (6 - 2*(count%4))
		count++
	}
	for layer := range v.active(streams) {
		for _, rate := range layer.Bitrates[:min(layer.Temporal, maxTemporal)] {
			dst = appendLEB128(dst, rate)
		}
	}
	if v.Sizes {
		for layer := range v.active(streams) {
			dst = binary.BigEndian.AppendUint16(dst, sizeOf(layer.Width))
			dst = binary.BigEndian.AppendUint16(dst, sizeOf(layer.Height))
			dst = append(dst, layer.MaxFramerate)
		}
	}
	return dst
}

func sizeOf(n int) uint16 { return uint16(min(max(n, 1), 1<<16) - 1) }

// active goes through the active layers of the first streams.
func (v *VideoLayers) active(streams uint8) func(yield func(*SpatialLayer) bool) {
	return func(yield func(*SpatialLayer) bool) {
		for s := range streams {
			for l := range v.Layers[s] {
				if layer := &v.Layers[s][l]; layer.Temporal > 0 && !yield(layer) {
					return
				}
			}
		}
	}
}

func readLEB128(b []byte) (v uint32, rest []byte, ok bool) {
	for i := 0; i < len(b) && i < 5; i++ {
		if i == 4 && b[i] > 0x0f { // more than 32 bits
			return 0, nil, false
		}
		v |= uint32(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 == 0 {
			return v, b[i+1:], true
		}
	}
	return 0, nil, false
}

func appendLEB128(dst []byte, v uint32) []byte {
	for ; v >= 0x80; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}
