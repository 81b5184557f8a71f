// Package issuer plays Google's token issuer for the emulator: it makes ID tokens that a receiver
// verifies by the same code as in production, and the ways in which clients ask for them.
//
// What it serves, see [Issuer.Register]:
//
//	GET  /.well-known/openid-configuration                         the discovery document
//	GET  /oauth2/v3/certs                                          the public keys (JWKS)
//	POST /token                                                    service-account assertions, see [Issuer.KeyFile]
//	GET  /computeMetadata/v1/...                                   the metadata server
//	GET  /_emulator/metadata/EMAIL/computeMetadata/v1/...          the same, of one account
//	POST /v1/projects/-/serviceAccounts/EMAIL:generateIdToken      the IAM Credentials API
//	POST /v1/projects/-/serviceAccounts/EMAIL:generateAccessToken
//
// Tokens carry the wall clock's time, whatever the emulator's own clock shows, since the receivers
// that verify them live by the wall clock.
//
// An Issuer gives a token to whoever asks for it. It shows that a receiver checks what it must; it
// protects nothing.
package issuer

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Name is the "iss" of every token: Google's own.
const Name = "https://accounts.google.com"

// Config says for whom an Issuer speaks.
type Config struct {
	URL      string           // the emulator's base URL, as in http://127.0.0.1:8085; required
	Project  string           // project id; required
	Location string           // region, as in us-central1; required
	Account  string           // the metadata server's default account; default: the project's compute account
	Keys     string           // file that keeps the keys, made if it is missing; default: new keys, kept nowhere
	Now      func() time.Time // default: time.Now
	Logger   *slog.Logger     // default: slog.Default()
}

// Issuer makes and serves tokens. It is safe for concurrent use. Use [New].
type Issuer struct {
	config  Config
	started time.Time
	keys    *keys

	mu     sync.Mutex
	tokens map[tokenKey]*token
}

// New returns an Issuer at once: keys that it does not find in Config.Keys are generated in the background, and whoever
// needs one of them first waits for it, some hundred milliseconds. It fails when the file is not good, or cannot be made.
func New(config Config) (*Issuer, error) {
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = slog.Default()
	}
	if config.Account == "" {
		config.Account = ProjectNumber(config.Project) + "-compute@developer.gserviceaccount.com"
	}
	i := &Issuer{config: config, started: config.Now(), tokens: make(map[tokenKey]*token)}
	if config.Keys != "" {
		var err error
		i.keys, err = keysIn(config.Keys, func(err error) { config.Logger.Error("emulator: its keys end with it", "error", err) })
		return i, err
	}
	i.keys = newKeys()
	i.keys.making.Go(i.keys.newest().generate) // that of key files is made when the first of them is asked for
	return i, nil
}

// Close waits until keys that are being made are there, and in their file.
func (i *Issuer) Close() { i.keys.making.Wait() }

// ProjectNumber is the number that stands for a project id: twelve digits, always the same.
func ProjectNumber(project string) string {
	return digits("project:"+project, 12)
}

// subject is the account's unique id: 21 digits, always the same.
func subject(account string) string {
	return digits("account:"+account, 21)
}

// digits hashes s to a decimal number of n digits whose first is 1.
func digits(s string, n int) string {
	sum := sha256.Sum256([]byte(s))
	all := fmt.Sprintf("%019d%019d", binary.BigEndian.Uint64(sum[:8])>>1, binary.BigEndian.Uint64(sum[8:16])>>1)
	return "1" + all[len(all)-(n-1):]
}

// checkAccount refuses what cannot be a service account's email address.
func checkAccount(account string) error {
	user, domain, ok := strings.Cut(account, "@")
	if !ok || user == "" || domain == "" || strings.ContainsFunc(account, unfit) || strings.Contains(domain, "@") {
		return fmt.Errorf("emulator: %q is not a service account: use an email address, as in login@my-project.iam.gserviceaccount.com", account)
	}
	return nil
}

func unfit(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`"<>\/:?#`, r) }
