package dtls

import "golang.org/x/crypto/cryptobyte"

// Numbers of the IANA registry "TLS ExtensionType Values".
const (
	extServerName           uint16 = 0
	extSupportedGroups      uint16 = 10
	extPointFormats         uint16 = 11
	extSignatureAlgorithms  uint16 = 13
	extUseSRTP              uint16 = 14
	extALPN                 uint16 = 16
	extExtendedMasterSecret uint16 = 23
	extSupportedVersions    uint16 = 43
	extCookie               uint16 = 44
	extKeyShare             uint16 = 51
	extConnectionID         uint16 = 54
	extRenegotiationInfo    uint16 = 0xff01
)

// extensions are those of a ClientHello, ServerHello, HelloRetryRequest, EncryptedExtensions or CertificateRequest: the
// fields of all, because most mean the same in each. What is nil or zero is absent, unless a bool says otherwise.
type extensions struct {
	has map[uint16]bool // what stood there, unknown ones included; filled by parsing

	versions     []Version // a server's has one
	groups       []Group
	schemes      []signatureScheme
	shares       []keyShare // a server's has one; a HelloRetryRequest's has no key
	cookie       []byte
	alpn         []string
	srtp         []SRTPProfile
	mki          []byte
	connectionID []byte // not nil if present

	extendedMasterSecret bool
	renegotiationInfo    bool
	renegotiated         []byte // what renegotiation_info says; empty in a first handshake
	pointFormats         bool

	serverName     string // in a ClientHello
	serverNameUsed bool   // in a server's answer
}

type keyShare struct {
	group Group
	key   []byte
}

// form is what differs in the encoding from message to message.
type form uint8

const (
	inClientHello form = iota
	inServerHello      // EncryptedExtensions and CertificateRequest too
	inRetryRequest
)

func (e *extensions) append(b *cryptobyte.Builder, f form) {
	add := func(id uint16, body func(*cryptobyte.Builder)) {
		b.AddUint16(id)
		b.AddUint16LengthPrefixed(body)
	}
	list16 := func(n int, item func(*cryptobyte.Builder, int)) func(*cryptobyte.Builder) {
		return func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				for i := range n {
					item(b, i)
				}
			})
		}
	}
	switch {
	case e.serverName != "":
		add(extServerName, func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				b.AddUint8(hostName)
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(e.serverName)) })
			})
		})
	case e.serverNameUsed:
		add(extServerName, func(*cryptobyte.Builder) {})
	}
	if len(e.versions) > 0 {
		add(extSupportedVersions, func(b *cryptobyte.Builder) {
			if f != inClientHello {
				b.AddUint16(uint16(e.versions[0]))
				return
			}
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) {
				for _, v := range e.versions {
					b.AddUint16(uint16(v))
				}
			})
		})
	}
	if len(e.groups) > 0 {
		add(extSupportedGroups, list16(len(e.groups), func(b *cryptobyte.Builder, i int) { b.AddUint16(uint16(e.groups[i])) }))
	}
	if len(e.schemes) > 0 {
		add(extSignatureAlgorithms, list16(len(e.schemes), func(b *cryptobyte.Builder, i int) { b.AddUint16(uint16(e.schemes[i])) }))
	}
	share := func(b *cryptobyte.Builder, i int) {
		b.AddUint16(uint16(e.shares[i].group))
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e.shares[i].key) })
	}
	switch {
	case f == inClientHello && e.shares != nil: // an empty list asks for a HelloRetryRequest
		add(extKeyShare, list16(len(e.shares), share))
	case f == inServerHello && len(e.shares) > 0:
		add(extKeyShare, func(b *cryptobyte.Builder) { share(b, 0) })
	case f == inRetryRequest && len(e.shares) > 0:
		add(extKeyShare, func(b *cryptobyte.Builder) { b.AddUint16(uint16(e.shares[0].group)) })
	}
	if len(e.cookie) > 0 {
		add(extCookie, func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e.cookie) })
		})
	}
	if len(e.alpn) > 0 {
		add(extALPN, list16(len(e.alpn), func(b *cryptobyte.Builder, i int) {
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(e.alpn[i])) })
		}))
	}
	if len(e.srtp) > 0 {
		add(extUseSRTP, func(b *cryptobyte.Builder) {
			list16(len(e.srtp), func(b *cryptobyte.Builder, i int) { b.AddUint16(uint16(e.srtp[i])) })(b)
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e.mki) })
		})
	}
	if e.connectionID != nil {
		add(extConnectionID, func(b *cryptobyte.Builder) {
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e.connectionID) })
		})
	}
	if e.extendedMasterSecret {
		add(extExtendedMasterSecret, func(*cryptobyte.Builder) {})
	}
	if e.renegotiationInfo {
		add(extRenegotiationInfo, func(b *cryptobyte.Builder) {
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(e.renegotiated) })
		})
	}
	if e.pointFormats {
		add(extPointFormats, func(b *cryptobyte.Builder) {
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddUint8(0) }) // uncompressed
		})
	}
}

// parse reads a block of extensions without its length. Unknown ones are passed over, and one that stands twice is an
// error (RFC 8446 section 4.2).
func (e *extensions) parse(b cryptobyte.String, f form) bool {
	e.has = make(map[uint16]bool)
	for !b.Empty() {
		var id uint16
		var body cryptobyte.String
		if !b.ReadUint16(&id) || !b.ReadUint16LengthPrefixed(&body) || e.has[id] || !e.parseOne(id, &body, f) {
			return false
		}
		e.has[id] = true
	}
	return true
}

func (e *extensions) parseOne(id uint16, body *cryptobyte.String, f form) bool {
	ok := true
	switch id {
	case extServerName:
		ok = f != inClientHello || e.parseServerName(body)
	case extSupportedVersions:
		if f == inClientHello {
			var list cryptobyte.String
			ok = body.ReadUint8LengthPrefixed(&list) && readNumbers(&e.versions, list)
		} else {
			ok = body.ReadUint16((*uint16)(newIn(&e.versions)))
		}
	case extSupportedGroups:
		var list cryptobyte.String
		ok = body.ReadUint16LengthPrefixed(&list) && readNumbers(&e.groups, list)
	case extSignatureAlgorithms:
		var list cryptobyte.String
		ok = body.ReadUint16LengthPrefixed(&list) && readNumbers(&e.schemes, list)
	case extKeyShare:
		ok = e.parseShares(body, f)
	case extCookie:
		ok = body.ReadUint16LengthPrefixed((*cryptobyte.String)(&e.cookie)) && len(e.cookie) > 0
	case extALPN:
		var list cryptobyte.String
		ok = body.ReadUint16LengthPrefixed(&list) && !list.Empty()
		for ok && !list.Empty() {
			var name cryptobyte.String
			ok = list.ReadUint8LengthPrefixed(&name) && !name.Empty()
			e.alpn = append(e.alpn, string(name))
		}
	case extUseSRTP:
		var list cryptobyte.String
		ok = body.ReadUint16LengthPrefixed(&list) && readNumbers(&e.srtp, list) &&
			body.ReadUint8LengthPrefixed((*cryptobyte.String)(&e.mki))
	case extConnectionID:
		var cid cryptobyte.String
		ok = body.ReadUint8LengthPrefixed(&cid)
		e.connectionID = append([]byte{}, cid...)
	case extExtendedMasterSecret:
		e.extendedMasterSecret = true
	case extRenegotiationInfo:
		e.renegotiationInfo = true
		ok = body.ReadUint8LengthPrefixed((*cryptobyte.String)(&e.renegotiated))
	default:
		return true
	}
	return ok && body.Empty()
}

// misplaced reports whether a server's message of DTLS 1.3 holds an extension that we know and that belongs elsewhere: whoever
// receives that "MUST abort the handshake" (RFC 8446 section 4.2, where the table is; RFC 9147 section 9 for connection IDs).
func (e *extensions) misplaced(in handshakeType, f form) error {
	for id := range e.has {
		belongs := true
		switch id {
		case extSupportedVersions, extKeyShare:
			belongs = in == serverHelloType
		case extCookie:
			belongs = f == inRetryRequest
		case extConnectionID:
			belongs = in == serverHelloType && f == inServerHello
		case extServerName, extSupportedGroups, extUseSRTP, extALPN:
			belongs = in == encryptedExtensions
		case extSignatureAlgorithms:
			belongs = in == certificateRequest
		}
		if !belongs {
			return peerError(AlertIllegalParameter, "extension %d does not belong into the server's %s", id, in)
		}
	}
	return nil
}

const hostName = 0 // the only NameType there is (RFC 6066 section 3)

// parseServerName reads the host's name, and passes over names of other types.
func (e *extensions) parseServerName(body *cryptobyte.String) bool {
	var list cryptobyte.String
	if !body.ReadUint16LengthPrefixed(&list) || list.Empty() {
		return false
	}
	for !list.Empty() {
		var typ uint8
		var name cryptobyte.String
		if !list.ReadUint8(&typ) || !list.ReadUint16LengthPrefixed(&name) || name.Empty() {
			return false
		}
		if typ == hostName {
			if e.serverName != "" { // "MUST NOT contain more than one name of the same name_type"
				return false
			}
			e.serverName = string(name)
		}
	}
	return true
}

func (e *extensions) parseShares(body *cryptobyte.String, f form) bool {
	if f == inRetryRequest {
		e.shares = make([]keyShare, 1)
		return body.ReadUint16((*uint16)(&e.shares[0].group))
	}
	list := body
	if f == inClientHello {
		list = new(cryptobyte.String)
		if !body.ReadUint16LengthPrefixed(list) {
			return false
		}
	}
	e.shares = []keyShare{}
	for !list.Empty() {
		var s keyShare
		if !list.ReadUint16((*uint16)(&s.group)) || !list.ReadUint16LengthPrefixed((*cryptobyte.String)(&s.key)) {
			return false
		}
		e.shares = append(e.shares, s)
	}
	return f == inClientHello || len(e.shares) == 1
}

// newIn makes a list of one and returns its element.
func newIn[T any](list *[]T) *T {
	*list = make([]T, 1)
	return &(*list)[0]
}

// readNumbers reads a list of 16-bit numbers that is not empty.
func readNumbers[T ~uint16](list *[]T, b cryptobyte.String) bool {
	if b.Empty() {
		return false
	}
	for !b.Empty() {
		var v uint16
		if !b.ReadUint16(&v) {
			return false
		}
		*list = append(*list, T(v))
	}
	return true
}
