package dtls

import (
	"crypto/ecdh"
	"crypto/mlkem"
	"errors"
)

// encapsulate is replaced in tests, which need the same bytes each time: the standard library takes no entropy there.
var encapsulate = func(key *mlkem.EncapsulationKey768, _ []byte) (shared, ciphertext []byte) { return key.Encapsulate() }

// entropySize is what one private key of any group is made of: an ML-KEM seed and a scalar.
const entropySize = mlkem.SeedSize + 48

// A privateKey is our half of an exchange in one group.
type privateKey struct {
	group Group
	ecdh  *ecdh.PrivateKey
	mlkem *mlkem.DecapsulationKey768 // of the hybrid group
}

var errShare = errors.New("the key share is not valid")

func (g Group) curve() ecdh.Curve {
	switch g {
	case P256:
		return ecdh.P256()
	case P384:
		return ecdh.P384()
	}
	return ecdh.X25519()
}

// generate makes a private key from entropySize bytes of entropy. Keys of one handshake may be made of the same bytes:
// the hybrid group and X25519 then share a scalar, as they may.
func (g Group) generate(entropy []byte) (*privateKey, error) {
	k := &privateKey{group: g}
	scalar := append([]byte(nil), entropy[mlkem.SeedSize:]...)
	var err error
	switch g {
	case P256:
		scalar = scalar[:32]
	case P384:
		scalar = scalar[:48]
	case X25519MLKEM768:
		if k.mlkem, err = mlkem.NewDecapsulationKey768(entropy[:mlkem.SeedSize]); err != nil {
			return nil, err
		}
		scalar = scalar[:32]
	default:
		scalar = scalar[:32]
	}
	// Beyond the order of P-256 lies one scalar in 2^32; clearing its top bit brings it inside at the cost of one bit.
	if k.ecdh, err = g.curve().NewPrivateKey(scalar); err != nil {
		scalar[0] &= 0x7f
		k.ecdh, err = g.curve().NewPrivateKey(scalar)
	}
	return k, err
}

// share is what a client sends: for the hybrid group the ML-KEM key, then the point.
func (k *privateKey) share() []byte {
	point := k.ecdh.PublicKey().Bytes()
	if k.mlkem != nil {
		return append(k.mlkem.EncapsulationKey().Bytes(), point...)
	}
	return point
}

// agree completes the exchange as the side that sent its share first.
func (k *privateKey) agree(peer []byte) (secret []byte, err error) {
	if k.mlkem != nil {
		if len(peer) <= mlkem.CiphertextSize768 {
			return nil, errShare
		}
		if secret, err = k.mlkem.Decapsulate(peer[:mlkem.CiphertextSize768]); err != nil {
			return nil, errShare
		}
		peer = peer[mlkem.CiphertextSize768:]
	}
	return k.appendECDH(secret, peer)
}

// respond completes the exchange as the side that has the other's share already, and returns the share to send.
func (g Group) respond(peer, entropy []byte) (share, secret []byte, err error) {
	own, err := g.classical().generate(entropy)
	if err != nil {
		return nil, nil, err
	}
	if g == X25519MLKEM768 {
		if len(peer) <= mlkem.EncapsulationKeySize768 {
			return nil, nil, errShare
		}
		key, err := mlkem.NewEncapsulationKey768(peer[:mlkem.EncapsulationKeySize768])
		if err != nil {
			return nil, nil, errShare
		}
		secret, share = encapsulate(key, entropy[:32])
		peer = peer[mlkem.EncapsulationKeySize768:]
	}
	secret, err = own.appendECDH(secret, peer)
	return append(share, own.ecdh.PublicKey().Bytes()...), secret, err
}

// appendECDH appends the secret agreed with the peer's point. A point that gives an all-zero secret is refused there
// (RFC 8446 section 7.4.2).
func (k *privateKey) appendECDH(secret, peer []byte) ([]byte, error) {
	point, err := k.group.curve().NewPublicKey(peer)
	if err != nil {
		return nil, errShare
	}
	s, err := k.ecdh.ECDH(point)
	if err != nil {
		return nil, errShare
	}
	return append(secret, s...), nil
}

// classical is the elliptic-curve part of the group.
func (g Group) classical() Group {
	if g == X25519MLKEM768 {
		return X25519
	}
	return g
}
