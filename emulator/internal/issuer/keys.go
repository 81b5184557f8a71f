package issuer

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
)

// keyBits is the size of Google's own keys. Receivers refuse smaller ones.
const keyBits = 2048

// keys holds the key pairs of an Issuer.
//
// Some sign ID tokens, as Google's do. Another signs the assertions of every service-account key
// file: a pair per account would be truer, but each costs a tenth of a second of processor time, which
// a local run of five services would feel at every start. It is a pair of its own so that no key file
// can sign ID tokens.
type keys struct {
	file    string // follows every rotation; empty: none
	account *keyPair

	rotating sync.Mutex // held while a rotation is made
	mu       sync.Mutex
	signing  []*keyPair // newest first: that one signs, the others are only published; replaced, never changed
}

// keyPair is generated in the background; its fields may be read once ready is closed.
type keyPair struct {
	ready   chan struct{}
	private *rsa.PrivateKey
	id      string
	err     error
}

func newKeys() *keys {
	return &keys{signing: []*keyPair{newKeyPair()}, account: newKeyPair()}
}

func newKeyPair() *keyPair { return &keyPair{ready: make(chan struct{})} }

func (k *keys) generate() {
	k.newest().generate() // first, since it is needed first
	k.account.generate()
}

func (k *keys) wait() {
	for _, pair := range k.published() {
		<-pair.ready
	}
	<-k.account.ready
}

// published are the pairs whose public keys receivers may find.
func (k *keys) published() []*keyPair {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.signing
}

// newest is the pair that signs.
func (k *keys) newest() *keyPair { return k.published()[0] }

// find returns the published key of an id.
func (k *keys) find(id string) (*rsa.PublicKey, error) {
	for _, pair := range k.published() {
		private, known, err := pair.get()
		if err == nil && known == id {
			return &private.PublicKey, nil
		}
	}
	return nil, errors.New("its key is not published: it was withdrawn, or belongs to another issuer")
}

// rotate makes the pair that signs from now on. The one before stays published unless it is withdrawn; older ones go.
func (k *keys) rotate(withdraw bool) (id string, err error) {
	k.rotating.Lock()
	defer k.rotating.Unlock()
	fresh := newKeyPair()
	fresh.generate()
	if fresh.err != nil {
		return "", fmt.Errorf("emulator: making a key: %w", fresh.err)
	}
	next := []*keyPair{fresh}
	if !withdraw {
		next = append(next, k.newest())
	}
	if k.file != "" {
		if err := writeKeysFile(k.file, next, k.account); err != nil {
			return "", err
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.signing = next
	return fresh.id, nil
}

func (p *keyPair) generate() { p.set(rsa.GenerateKey(rand.Reader, keyBits)) }

// set makes the pair ready.
func (p *keyPair) set(private *rsa.PrivateKey, err error) {
	defer close(p.ready)
	if p.private, p.err = private, err; err != nil {
		return
	}
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(&private.PublicKey))
	p.id = hex.EncodeToString(sum[:20])
}

// get waits for the pair.
func (p *keyPair) get() (private *rsa.PrivateKey, id string, err error) {
	<-p.ready
	return p.private, p.id, p.err
}
