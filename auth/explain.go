package auth

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Verdict is the outcome of one check of a token.
type Verdict string

// The outcomes of a check.
const (
	Passed    Verdict = "passed"
	Failed    Verdict = "failed"
	Unchecked Verdict = "unchecked" // because a check before it failed
)

// CheckResult is one of a Verifier's checks, as it went for one token.
type CheckResult struct {
	Name     string  `json:"name"`             // of the part or the claim: form, header, alg, typ, payload, exp, kid, signature, iss, aud, ..., caller
	Expected string  `json:"expected"`         // what the Verifier accepts
	Came     string  `json:"came"`             // what the token has, shortened; believe it only if the signature passed
	Verdict  Verdict `json:"verdict"`          // how they compare
	Reason   string  `json:"reason,omitempty"` // why it failed and what to change, or why it was not checked
}

// Explanation is what a [Verifier] makes of a token, for a person to read; [Explain] makes it. It holds neither the
// token nor its signature, but the token's account, audience and key ID, and the accounts that the Verifier lets in:
// it is for whoever runs the service, not for whoever calls it.
type Explanation struct {
	Accepted  bool          `json:"accepted"`             // whether Verify lets the token in
	Status    int           `json:"status"`               // the HTTP status of the answer: 200, 401, 403 or 503
	Reason    string        `json:"reason,omitempty"`     // why it is refused and what to change: the error of Verify
	Assurance string        `json:"assurance"`            // who checked the signature: verified, platform-asserted or none
	Checks    []CheckResult `json:"checks"`               // in the order in which Verify makes them
	ExpiresAt *time.Time    `json:"expires_at,omitempty"` // by the token's exp, if that can be read
}

// Explain shows token to v and tells how each of v's checks goes, also of those after the first that fails. Claims of a
// token whose signature is wrong or could not be checked are shown all the same; Assurance then is none.
//
// It remembers nothing about the token and looks at no memory of it. Like Verify, it may fetch the issuer's keys;
// ctx bounds the wait for them.
func Explain(ctx context.Context, token string, v *Verifier) Explanation {
	token = strings.TrimSpace(token) // what was pasted has a line break at its end
	now := v.config.Now()
	a, err := v.verify(ctx, token, now)
	e := Explanation{Accepted: err == nil, Status: Status(err)}
	if err != nil {
		e.Reason = err.Error()
		a = &attempt{ctx: ctx, verifier: v, now: now, raw: token}
	}

	u := view(token, now)
	passed := make(map[string]bool, len(v.checks))
	for _, c := range v.checks {
		r := CheckResult{Name: c.name, Expected: c.expected(v), Came: c.came(u), Verdict: Passed}
		if need := slices.IndexFunc(c.needs, func(n string) bool { return !passed[n] }); need >= 0 {
			r.Verdict, r.Reason = Unchecked, c.needs[need]+" has to pass first"
		} else if err := c.run(a); err != nil {
			r.Verdict, r.Reason = Failed, err.Detail
		}
		passed[c.name] = r.Verdict == Passed
		e.Checks = append(e.Checks, r)
	}
	e.Assurance = a.assurance.String()
	if s := a.token.claims.expires; s != 0 {
		at := time.Unix(s, 0).UTC()
		e.ExpiresAt = &at
	}
	return e
}

// String is the explanation as a table, for a terminal. It ends with a line break.
func (e Explanation) String() string {
	var b strings.Builder
	if e.Accepted {
		fmt.Fprintf(&b, "accepted (signature: %s)\n\n", e.Assurance)
	} else {
		fmt.Fprintf(&b, "refused with %d: %s\n\n", e.Status, e.Reason)
	}
	if e.Assurance == Assurance(0).String() {
		b.WriteString("Nobody has checked the signature. What follows may be made up.\n\n")
	}
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "CHECK\tVERDICT\tCAME\tEXPECTED")
	for _, c := range e.Checks {
		verdict := string(c.Verdict)
		if c.Verdict == Failed {
			verdict = strings.ToUpper(verdict)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", c.Name, verdict, c.Came, c.Expected)
	}
	_ = w.Flush() // a strings.Builder takes everything
	for _, c := range e.Checks {
		if c.Verdict == Failed && !strings.Contains(e.Reason, c.Reason) {
			fmt.Fprintf(&b, "\n%s: %s\n", c.Name, c.Reason)
		}
	}
	return b.String()
}

// unread is what can be seen of a token without asking whether it may be read.
type unread struct {
	raw     string
	now     time.Time
	parts   []string
	header  map[string]json.RawMessage
	payload map[string]json.RawMessage
}

func view(raw string, now time.Time) *unread {
	u := &unread{raw: raw, now: now, parts: strings.Split(raw, ".")}
	if len(raw) > maxTokenBytes || len(u.parts) < 2 {
		return u
	}
	for i, into := range []*map[string]json.RawMessage{&u.header, &u.payload} {
		b, _ := base64.RawURLEncoding.DecodeString(strings.TrimRight(u.parts[i], "=")) // whatever could be read helps
		_ = json.Unmarshal(b, into)
	}
	return u
}

const missing = "none"

func (u *unread) form() string {
	return fmt.Sprintf("%d parts, %d bytes", len(u.parts), len(u.raw))
}

func (u *unread) headerNames() string { return names(u.header) }

func (u *unread) payloadNames() string { return names(u.payload) }

func names(members map[string]json.RawMessage) string {
	if members == nil {
		return "nothing readable"
	}
	return shorten(strings.Join(slices.Sorted(maps.Keys(members)), " "))
}

func inHeader(name string) func(*unread) string {
	return func(u *unread) string { return shown(u.header[name]) }
}

func inPayload(name string) func(*unread) string {
	return func(u *unread) string { return shown(u.payload[name]) }
}

func shown(value json.RawMessage) string {
	if value == nil {
		return missing
	}
	return shorten(string(value))
}

// shorten makes text of a token safe for a line on a terminal.
func shorten(s string) string {
	const limit = 100
	s = strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}

func secondsInPayload(name string) func(*unread) string {
	return func(u *unread) string {
		value := u.payload[name]
		if value == nil {
			return missing
		}
		n, err := secondsValue(string(value))
		if err != nil {
			return shown(value)
		}
		if d := ago(u.now, n); d >= 0 {
			return fmt.Sprintf("%s, %v ago", stamp(n), d)
		}
		return fmt.Sprintf("%s, in %v", stamp(n), -ago(u.now, n))
	}
}

func (u *unread) signature() string {
	switch {
	case len(u.parts) < 3 || u.parts[2] == "":
		return missing
	case u.parts[2] == removedSignature:
		return "removed by the platform"
	default:
		return fmt.Sprintf("%d bytes", base64.RawURLEncoding.DecodedLen(len(u.parts[2])))
	}
}

func (u *unread) lifetime() string {
	from, err := secondsValue(string(u.payload["iat"]))
	if err != nil {
		return missing
	}
	to, err := secondsValue(string(u.payload["exp"]))
	if err != nil {
		return missing
	}
	return (time.Duration(to-from) * time.Second).String()
}
