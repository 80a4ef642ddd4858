//go:build unix

package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"syscall"
	"time"
)

// The floor is what setting up a connection takes at least, both ends of it: the cryptography of DTLS 1.3 and ICE by Go's
// standard library, and the system calls. There is no protocol around it, no description, no event, no waiting and no memory
// but what the library allocates.

// The datagrams of a connection with one valid pair, both ways, by their sizes: two checks and the nomination with their
// answers, three flights and the ACK, a channel opened and accepted, a message, two SACKs, the end. More than 1200 bytes are two.
var (
	datagrams        = []int{96, 64, 196, 759, 542, 72, 96, 64, 108, 64, 74, 74, 50, 62, 66, 24}
	datagramsDefault = []int{96, 64, 1200, 272, 1200, 671, 542, 72, 96, 64, 108, 64, 74, 74, 50, 62, 66, 24}
)

// A part of the floor does its share of one connection.
type part struct {
	name string
	run  func() error
}

// floor returns the parts.
func floor(shared bool) ([]part, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	sizes := datagramsDefault
	if shared {
		sizes = datagrams
	}
	return []part{
		{"public-key operations", func() error { return errors.Join(agree(!shared), prove(key, !shared), prove(key, !shared)) }},
		{"keys, records, checks", seal},
		{"four sockets", func() error { return sockets(nil) }},
		{fmt.Sprintf("%d datagrams", len(sizes)), func() error { return sockets(sizes) }}, // less the sockets
	}, nil
}

// agree is the key agreement of both ends.
func agree(hybrid bool) error {
	if hybrid {
		client, err := mlkem.GenerateKey768()
		if err != nil {
			return err
		}
		server, err := mlkem.NewEncapsulationKey768(client.EncapsulationKey().Bytes())
		if err != nil {
			return err
		}
		_, ciphertext := server.Encapsulate()
		if _, err := client.Decapsulate(ciphertext); err != nil {
			return err
		}
	}
	client, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	server, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	_, errServer := server.ECDH(client.PublicKey())
	_, errClient := client.ECDH(server.PublicKey())
	return errors.Join(errServer, errClient)
}

// prove is a CertificateVerify, made and verified, and before it a certificate of one's own.
func prove(key *ecdsa.PrivateKey, own bool) (err error) {
	digest := sha256.Sum256([]byte("what is signed"))
	if own {
		if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return err
		}
		if _, err := ecdsa.SignASN1(rand.Reader, key, digest[:]); err != nil {
			return err
		}
	}
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err == nil && !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
		err = errors.New("a signature does not hold")
	}
	return err
}

// seal is the key schedule of both ends, with keys for two epochs and both directions at each, the records, sealed and opened,
// and the integrity of six messages of ICE, made and verified.
func seal() error {
	const ends, epochs, directions, records, messages = 2, 2, 2, 14, 6
	secret := make([]byte, sha256.Size)
	for range ends * 3 {
		if _, err := hkdf.Extract(sha256.New, secret, secret); err != nil {
			return err
		}
	}
	expand := func(label string, n int) []byte {
		b, err := hkdf.Expand(sha256.New, secret, label, n)
		if err != nil {
			panic(err) // n is small
		}
		return b
	}
	for range ends * 9 { // secrets, and keys of Finished
		expand("dtls13secret", sha256.Size)
	}
	var aead cipher.AEAD
	var mask cipher.Block
	for range ends * epochs * directions {
		block, err := aes.NewCipher(expand("dtls13key", 16))
		if err != nil {
			return err
		}
		if aead, err = cipher.NewGCM(block); err != nil {
			return err
		}
		expand("dtls13iv", 12)
		if mask, err = aes.NewCipher(expand("dtls13sn", 16)); err != nil {
			return err
		}
	}
	nonce, hidden, record := make([]byte, 12), make([]byte, aes.BlockSize), make([]byte, 80, 128)
	for range records {
		sealed := aead.Seal(record[:0], nonce, record, nil)
		for range ends { // the number of the record, hidden and found
			mask.Encrypt(hidden, sealed[:aes.BlockSize])
		}
		if _, err := aead.Open(sealed[:0], nonce, sealed, nil); err != nil {
			return err
		}
	}
	for range ends * messages {
		h := hmac.New(sha1.New, secret)
		h.Write(record)
		h.Sum(nil)
	}
	return nil
}

// sockets opens two sockets for each end and closes them, and in between sends datagrams from one to another, in turns.
func sockets(sizes []int) error {
	var fds []int
	var names []syscall.Sockaddr
	defer func() {
		for _, fd := range fds {
			syscall.Close(fd)
		}
	}()
	for range 4 {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		fds = append(fds, fd)
		if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return err
		}
		name, err := syscall.Getsockname(fd)
		if err != nil {
			return err
		}
		names = append(names, name)
	}
	b := make([]byte, 1500)
	for i, size := range sizes {
		if err := syscall.Sendto(fds[i%2], b[:size], 0, names[1-i%2]); err != nil {
			return err
		}
		if n, _, err := syscall.Recvfrom(fds[1-i%2], b, 0); err != nil || n != size {
			return fmt.Errorf("%d bytes of %d came: %w", n, size, err)
		}
	}
	return nil
}

// printFloor measures the parts, each alone, and all of them as connections are set up: four at a time.
func printFloor(period time.Duration) error {
	var rows [][2]float64
	var names []string
	for column, shared := range []bool{true, false} {
		parts, err := floor(shared)
		if err != nil {
			return err
		}
		each := func() error { // the last part has the sockets in it
			return errors.Join(parts[0].run(), parts[1].run(), parts[3].run())
		}
		for i, p := range append(parts, part{"all of it, four at a time", each}) {
			workers := 1
			if i == len(parts) {
				workers = 4
			}
			n, spent, err := repeat(workers, period, p.run)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			if column == 0 {
				rows, names = append(rows, [2]float64{}), append(names, p.name)
			} else if names[i] != p.name {
				names[i] += ", or " + p.name
			}
			rows[i][column] = spent / float64(n) * 1e6
			if i == 3 {
				rows[i][column] -= rows[2][column]
			}
		}
	}
	fmt.Println("| us of CPU time for both ends | one certificate and X25519 | defaults |\n|---|---|---|")
	for i, r := range rows {
		fmt.Printf("| %s | %.0f | %.0f |\n", names[i], r[0], r[1])
	}
	return nil
}
