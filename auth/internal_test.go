package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/idtoken"
)

var farFuture = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)

// FuzzParse: whatever parse lets through, idtoken reads without a panic and reads in the same way, and there is
// exactly one spelling of it.
func FuzzParse(f *testing.F) {
	b64 := base64.RawURLEncoding.EncodeToString
	token := func(header, payload string) string {
		return b64([]byte(header)) + "." + b64([]byte(payload)) + "." + b64([]byte("signature"))
	}
	const (
		header  = `{"alg":"RS256","typ":"JWT","kid":"k"}`
		payload = `{"iss":"https://accounts.google.com","aud":"https://a.example","sub":"1","email":"a@b.c","email_verified":true,"iat":1700000000,"exp":1700003600}`
	)
	for _, s := range []string{
		token(header, payload), token("null", payload), token(header, "null"), token(`{"alg":"ES256","kid":"k"}`, payload), "", ".", "..", "...",
		token(header, payload) + "=", token(header, strings.Replace(payload, `"aud"`, `"AUD":"x","aud"`, 1)), token(`{"alg":"RS256","ALG":"ES256","kid":"k"}`, payload),
		token(header, `{"a":{"b":["}",{"c":"\"}"}]},`+payload[1:]), token(header, " "+strings.ReplaceAll(payload, ",", " , ")+"\n"),
		token(header, payload)[:50] + "\n" + token(header, payload)[50:], token(header, `{"x":"\u0000\ud800",`+payload[1:]), "ya29.abc",
		b64([]byte(header)) + "." + b64([]byte(payload)) + "." + removedSignature,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := parse(raw)
		if err != nil {
			if _, ok := errors.AsType[*Error](err); !ok {
				t.Fatalf("%T is not an *Error", err)
			}
			return
		}
		want, err := idtoken.ParsePayload(raw)
		if err != nil {
			t.Fatalf("idtoken refuses what parse lets through: %v", err)
		}
		c := got.claims
		if c.issuer != want.Issuer || c.audience != want.Audience || c.subject != want.Subject || c.expires != want.Expires || c.issuedAt != want.IssuedAt {
			t.Fatalf("parse reads %+v, idtoken %+v", c, want)
		}
		if email, _ := want.Claims["email"].(string); c.email != email || c.emailVerified != (want.Claims["email_verified"] == true) {
			t.Fatalf("parse reads %+v, idtoken %+v", c, want.Claims)
		}
		segments := strings.Split(raw, ".")
		var h struct{ Alg, Kid string }
		data, err := base64.RawURLEncoding.DecodeString(segments[0])
		if err != nil || json.Unmarshal(data, &h) != nil || h.Alg != got.algorithm || h.Kid != got.keyID {
			t.Fatalf("parse reads kid %q, encoding/json %+v", got.keyID, h)
		}
		for _, s := range segments[:2] {
			if data, err := base64.RawURLEncoding.DecodeString(s); err != nil || b64(data) != s {
				t.Fatalf("%q is not the only spelling of its content", s)
			}
		}
	})
}

// FuzzMembers: the scanner sees what encoding/json sees.
func FuzzMembers(f *testing.F) {
	for _, s := range []string{`{}`, ` { "a" : 1 , "b" : [ { } ] } `, `{"a":"}\\\"","b":-1e9}`, `{"a":1,"A":2}`, `[]`, `{"":""}`, "{\"a\":1}x", `{"\u0061":1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got := map[string]string{}
		err := members(string(data), func(name, value string) error {
			got[name] = value
			return nil
		})
		if err != nil {
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("encoding/json refuses it: %v", err)
		}
		if len(got) != len(want) {
			t.Fatalf("got %d members, want %d", len(got), len(want))
		}
		for name, value := range want {
			if got[name] != string(value) {
				t.Fatalf("%q: got %s, want %s", name, got[name], value)
			}
		}
	})
}

// TestMintErrors covers the answers that the metadata package repeats for seconds before it gives up, and errors that
// end in what was answered.
func TestMintErrors(t *testing.T) {
	const audience = "https://a.example"
	user := &credentials{kind: google.AuthorizedUser, account: "login@shop.iam.gserviceaccount.com"}
	direct := func(err error) *MintError { return mintError(audience, err) }
	source := func(err error) *MintError { return sourceError(audience, google.ExternalAccount, err) }
	impersonation := func(err error) *MintError { return impersonationError(audience, user, err) }
	for _, c := range []struct {
		become func(error) *MintError
		err    error
		reason error
		says   string
	}{
		{direct, &metadata.Error{Code: 429, Message: "SECRET"}, ErrMintUnavailable, "429"},
		{direct, &metadata.Error{Code: 503, Message: "SECRET"}, ErrMintUnavailable, "503"},
		{direct, &metadata.Error{Code: 403, Message: "SECRET"}, ErrMintRefused, "service account"},
		{direct, metadata.NotDefinedError("identity"), ErrMintRefused, "attach"},
		{source, &metadata.Error{Code: 500, Message: "SECRET"}, ErrMintUnavailable, "500"},
		{source, errors.New("oauth2/google: status code 400: SECRET"), ErrMintRefused, "provider"},
		{source, errors.New("oauth2/google/externalaccount: unable to retrieve AWS region - SECRET"), ErrMintUnavailable, "AWS region"},
		{source, errors.New("oauth2/google/externalaccount: unable to parse output\nResponse: SECRET"), ErrMintUnavailable, "unable to parse output"},
		{
			func(err error) *MintError {
				return impersonationError(audience, &credentials{account: "login@shop.iam.gserviceaccount.com"}, err)
			},
			errors.New("impersonate: status code 403: SECRET"), ErrMintRefused, "the account of this service may not impersonate",
		},
		{
			func(err error) *MintError {
				return impersonationError(audience, &credentials{kind: google.ServiceAccount}, err)
			},
			errors.New("impersonate: status code 403: SECRET"), ErrMintRefused, "--member=serviceAccount:ITS_EMAIL",
		},
		{impersonation, errors.New(`impersonate: status code 403: {"error":"SECRET"}`), ErrMintRefused, "gcloud iam service-accounts add-iam-policy-binding login@shop.iam.gserviceaccount.com --member=user:YOUR_EMAIL"},
		{impersonation, errors.New("impersonate: status code 404: SECRET"), ErrMintRefused, "no service account"},
		{impersonation, fmt.Errorf("x: %w", errors.New("impersonate: status code 500: SECRET")), ErrMintUnavailable, "500"},
		{impersonation, errors.New("impersonate: status code 4xx"), ErrMintUnavailable, "cannot be reached"},
	} {
		err := c.become(c.err)
		if !errors.Is(err, c.reason) || !errors.Is(err, c.err) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%v became %v, want %v ... %s", c.err, err, c.reason, c.says)
		}
	}
}

func TestCacheOrder(t *testing.T) {
	c := newTokenCache(3)
	put := func(n byte, kid string) {
		c.put(tokenDigest{n}, verified{name: keyName{rs256, kid}, identity: Identity{ExpiresAt: farFuture}})
	}
	has := func() (s string) {
		for n := range byte(10) {
			if _, ok := c.get(tokenDigest{n}, farFuture.Add(-1)); ok {
				s += fmt.Sprint(n)
			}
		}
		return s
	}
	for n := range byte(5) {
		put(n, "old")
		put(n, "old")
	}
	if got := has(); got != "234" || len(c.entries) != 3 {
		t.Errorf("after five of three: %s", got)
	}
	put(5, "new")
	c.purge(func(name keyName, _ keyPrint) bool { return name.id == "new" })
	if got := has(); got != "5" || len(c.entries) != 1 {
		t.Errorf("after the purge: %s", got)
	}
	put(6, "new")
	put(7, "new")
	put(8, "new")
	if got := has(); got != "678" {
		t.Errorf("after three more: %s", got)
	}
	if _, ok := c.get(tokenDigest{8}, farFuture); ok {
		t.Error("an expired token")
	}
}
