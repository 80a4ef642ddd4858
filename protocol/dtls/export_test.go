package dtls

import (
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
)

// The standard library's encapsulation takes no entropy; tests need the same bytes each time.
func init() {
	encapsulate = func(key *mlkem.EncapsulationKey768, entropy []byte) (shared, ciphertext []byte) {
		shared, ciphertext, err := mlkemtest.Encapsulate768(key, entropy)
		if err != nil {
			panic(err)
		}
		return shared, ciphertext
	}
}
