package dispatchtest

import (
	"cmp"
	"math"
	"net/http"
	"time"

	"waybill.dev/dispatch"
	"waybill.dev/internal/authtest"
)

// Always is a number of times: until the end of the test.
const Always = math.MaxInt

// fault is what goes wrong with attempts at a route. The zero value is none.
type fault struct {
	times  int // how many are left
	refuse bool
	status int // answered in place of the service
	lose   bool
	twice  bool
	token  *Token
}

// refusal is the error of sends.
type refusal struct {
	times int
	err   error
}

// Fail has the next attempts at a task, a subscription or a call answered with this status, or with 0 refused like a
// connection. The service does not see them. Faults of one route come one after another, each attempt has one.
func (b *Bench) Fail(r Named, times, status int) {
	b.t.Helper()
	b.addFault(r, "Fail", times, fault{status: status, refuse: status == 0})
}

// LoseAnswer has the next attempts arrive, and their answers get lost: the handler has run, and its sender does not know.
func (b *Bench) LoseAnswer(r Named, times int) {
	b.t.Helper()
	b.addFault(r, "LoseAnswer", times, fault{lose: true})
}

// Duplicate has the next attempts at a task or a subscription arrive twice, one after the other. The first answer counts.
func (b *Bench) Duplicate(r Named, times int) {
	b.t.Helper()
	if info := b.routes.byName[r.Name()]; info != nil && info.Kind == dispatch.KindCall {
		b.t.Fatalf("dispatchtest: Duplicate: nothing delivers call %q twice but its caller; use LoseAnswer, and a call that declares dispatch.Retry", r.Name())
	}
	b.addFault(r, "Duplicate", times, fault{twice: true})
}

// Forge has the next attempts carry this token in the place of their own.
func (b *Bench) Forge(r Named, times int, token Token) {
	b.t.Helper()
	b.addFault(r, "Forge", times, fault{token: &token})
}

// FailSend has the next Sends or Requests on a route get this error. With an error that is dispatch.ErrAmbiguous a task or an
// event is kept nevertheless, as when the answer was lost; with any other it is not. The dispatcher's own error wraps it.
func (b *Bench) FailSend(r Named, times int, err error) {
	b.t.Helper()
	if b.routes.byName[r.Name()] == nil {
		b.received(r, "FailSend")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refusals[r.Name()] = append(b.refusals[r.Name()], &refusal{times, err})
}

// FailDead has the next dead letters of a task or a subscription not kept, with this error. Their messages are not acknowledged, and
// come again.
func (b *Bench) FailDead(r Named, times int, err error) {
	b.t.Helper()
	name := b.received(r, "FailDead")
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refusals[deadOf+name] = append(b.refusals[deadOf+name], &refusal{times, err})
}

// deadOf is before a route's name where its dead letters are meant; no name has a space.
const deadOf = "the dead letters of "

// Down has attempts at an open service find nobody, until up is called. They count as attempts, unlike those at a service that was never
// opened, which are not made.
func (b *Bench) Down(s *dispatch.Service) (up func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down[s.Name()]++
	ended := false
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if !ended {
			ended = true
			b.down[s.Name()]--
		}
	}
}

func (b *Bench) addFault(r Named, what string, times int, f fault) {
	b.t.Helper()
	name := b.received(r, what)
	if f.status != 0 && http.StatusText(f.status) == "" {
		b.t.Fatalf("dispatchtest: %s: %d is no HTTP status; 0 refuses the connection", what, f.status)
	}
	f.times = times
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults[name] = append(b.faults[name], &f)
}

// takeFault is what goes wrong with this attempt. The caller holds mu.
func (b *Bench) takeFault(route string) fault {
	for _, f := range b.faults[route] {
		if f.times > 0 {
			f.times--
			return *f
		}
	}
	return fault{}
}

// refusal is the error of this send, or nil. The caller holds mu.
func (b *Bench) refusal(route string) error {
	for _, r := range b.refusals[route] {
		if r.times > 0 {
			r.times--
			return r.err
		}
	}
	return nil
}

// Token is how an ID token differs from the right one. The zero value is the right one.
type Token struct {
	From    *dispatch.Service // whose it is; default: the declared sender's, of an event the push account's
	Account string            // whose it is, if it is no service of the app
	For     *dispatch.Service // whom it is for; default: the receiver
	Age     time.Duration     // how long ago it was issued; it is valid for an hour
	Foreign bool              // signed with a key that is not the issuer's
	Missing bool              // there is none
}

// claims are what a token is made of.
type claims struct {
	account, audience string
	age               time.Duration
	foreign           bool
}

// tokenLife is how long a token is used again.
const tokenLife = 30 * time.Minute

// signed is a token that may be used again.
type signed struct {
	token string
	at    time.Time
}

// token returns the token of an account for an audience, changed by t. Verifiers go by the real time, or a bubble's, and not by a
// clock of the bench's own.
func (b *Bench) token(t Token, account, audience string) string {
	if t.Missing {
		return ""
	}
	if t.From != nil {
		account = b.account(t.From.Name())
	}
	if t.For != nil {
		audience = b.audience(t.For.Name())
	}
	c := claims{cmp.Or(t.Account, account), audience, t.Age, t.Foreign}
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.tokens[c]; ok && time.Since(s.at) < tokenLife {
		return s.token
	}
	s := signed{c.sign(), time.Now()}
	b.tokens[c] = s
	return s.token
}

func (c claims) sign() string {
	var signer *authtest.Issuer
	if c.foreign {
		signer = stranger()
	} else {
		signer = issuer()
	}
	issued := time.Now().Add(-c.age)
	return signer.Sign(map[string]any{
		"iss": "https://accounts.google.com", "aud": c.audience, "azp": "100000000000000000001", "sub": "100000000000000000001",
		"email": c.account, "email_verified": true, "iat": issued.Unix(), "exp": issued.Add(time.Hour).Unix(),
	})
}
