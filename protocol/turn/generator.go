package turn

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"

	"github.com/parley-rtc/parley/protocol/stun"
)

// generator makes what nobody may guess (ports, tokens, transaction IDs) from one seed: AES in counter mode, because a
// transaction ID is wanted for every Data indication.
type generator struct {
	block   cipher.Block
	counter uint64
	in, out [aes.BlockSize]byte
}

func newGenerator(seed [16]byte) *generator {
	block, err := aes.NewCipher(seed[:])
	if err != nil {
		panic(err) // 16 bytes are a key of AES
	}
	return &generator{block: block}
}

func (g *generator) next() *[aes.BlockSize]byte {
	g.counter++
	binary.BigEndian.PutUint64(g.in[:], g.counter)
	g.block.Encrypt(g.out[:], g.in[:])
	return &g.out
}

func (g *generator) transactionID() stun.TransactionID { return stun.TransactionID(g.next()[:12]) }

// token returns a number that is not zero.
func (g *generator) token() uint64 {
	for {
		if t := binary.BigEndian.Uint64(g.next()[:]); t != 0 {
			return t
		}
	}
}

// below returns a number from 0 to n-1.
func (g *generator) below(n int) int { return int(binary.BigEndian.Uint64(g.next()[:]) % uint64(n)) }
