package issuer

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
)

// keyBits is the size of Google's own keys. Receivers refuse smaller ones.
const keyBits = 2048

// keys holds the two key pairs of an Issuer.
//
// One signs ID tokens, as Google's does. The other signs the assertions of every service-account key
// file: a pair per account would be truer, but each costs a tenth of a second of processor time, which
// a local run of five services would feel at every start. It is a pair of its own so that no key file
// can sign ID tokens.
type keys struct {
	signing, account keyPair
}

// keyPair is generated in the background; its fields may be read once ready is closed.
type keyPair struct {
	ready   chan struct{}
	private *rsa.PrivateKey
	id      string
	err     error
}

func newKeys() *keys {
	return &keys{
		signing: keyPair{ready: make(chan struct{})},
		account: keyPair{ready: make(chan struct{})},
	}
}

func (k *keys) generate() {
	k.signing.generate() // first, since it is needed first
	k.account.generate()
}

func (k *keys) wait() {
	<-k.signing.ready
	<-k.account.ready
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
