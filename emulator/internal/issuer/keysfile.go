package issuer

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The file has one PEM block for each pair. The header says which is which, since they must not be mixed up.
const (
	pemType      = "PRIVATE KEY"
	pemUse       = "Waybill-Emulator-Key"
	useIDTokens  = "id-tokens"
	usePublished = "id-tokens-published" // signed before, and is published still; only after a rotation
	useKeyFiles  = "key-files"
	keysFileMode = 0o600
	keysDirMode  = 0o700
)

// keysIn reads the pairs from a file, or makes the file if there is none. Whatever is wrong with the file shows at the
// start; but making keys takes some hundred milliseconds, so a file that is missing is made in the background, and what
// then goes wrong is told to failed.
func keysIn(path string, failed func(error)) (*keys, error) {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return makeKeysFile(path, failed)
	case err != nil:
		return nil, fmt.Errorf("emulator: the file of its keys cannot be read: %w", err)
	}
	k := newKeys()
	k.file = path
	published := newKeyPair()
	pairs := map[string]*keyPair{useIDTokens: k.newest(), usePublished: published, useKeyFiles: k.account}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		pair := pairs[block.Headers[pemUse]]
		if pair == nil {
			return nil, damaged(path, errors.New("it has a key twice, or one of something else"))
		}
		delete(pairs, block.Headers[pemUse])
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, damaged(path, errors.New("a key cannot be parsed"))
		}
		private, ok := parsed.(*rsa.PrivateKey)
		if !ok || private.N.BitLen() < keyBits {
			return nil, damaged(path, fmt.Errorf("a key is no RSA key of %d bits", keyBits))
		}
		pair.set(private)
	}
	if pairs[usePublished] == nil {
		k.signing = append(k.signing, published)
	}
	if pairs[useIDTokens] != nil || pairs[useKeyFiles] != nil {
		return nil, damaged(path, errors.New("a key is missing"))
	}
	return k, nil
}

func damaged(path string, why error) error {
	return fmt.Errorf("emulator: %s is not a file of this emulator's keys; name another, or delete it to have it made anew: %w", path, why)
}

func makeKeysFile(path string, failed func(error)) (*keys, error) {
	if err := probe(path); err != nil {
		return nil, unwritable(err)
	}
	k := newKeys()
	k.file = path
	k.rotating.Lock() // a rotation would write the file too
	k.making.Go(func() {
		defer k.rotating.Unlock()
		k.generate()
		if err := writeKeysFile(path, k.published(), k.account); err != nil {
			failed(err)
		}
	})
	return k, nil
}

// probe tells whether a file can be made there.
func probe(path string) error {
	f, err := createIn(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func unwritable(err error) error {
	return fmt.Errorf("emulator: the file of its keys cannot be written; name another: %w", err)
}

// writeKeysFile replaces the file. There are one or two signing pairs.
func writeKeysFile(path string, signing []*keyPair, account *keyPair) error {
	var file bytes.Buffer
	add := func(use string, pair *keyPair) error {
		private, _, err := pair.get()
		if err != nil {
			return fmt.Errorf("emulator: making a key: %w", err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err == nil {
			err = pem.Encode(&file, &pem.Block{Type: pemType, Headers: map[string]string{pemUse: use}, Bytes: der})
		}
		if err != nil {
			return fmt.Errorf("emulator: encoding a key: %w", err)
		}
		return nil
	}
	err := add(useIDTokens, signing[0])
	for _, pair := range signing[1:] {
		err = errors.Join(err, add(usePublished, pair))
	}
	if err = errors.Join(err, add(useKeyFiles, account)); err != nil {
		return err
	}
	if err := writeWhole(path, file.Bytes()); err != nil {
		return unwritable(err)
	}
	return nil
}

// writeWhole makes the file appear with all of its content or not at all: two emulators may start at once.
func writeWhole(path string, content []byte) error {
	f, err := createIn(path)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(content)
	if err := errors.Join(err, f.Chmod(keysFileMode), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// createIn makes a new file beside path, and the folder if it is missing.
func createIn(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), keysDirMode); err != nil {
		return nil, err
	}
	return os.CreateTemp(filepath.Dir(path), ".emulator-keys-*")
}
