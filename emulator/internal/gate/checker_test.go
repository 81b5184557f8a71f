package gate

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// names is a Verifier whose tokens are AUDIENCE.EMAIL with dashes for dots, and a signature.
type names struct{}

func (names) VerifyIDToken(token string, audiences ...string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || parts[2] != "signature" {
		return "", errors.New("it is bad")
	}
	if !slices.Contains(audiences, parts[0]) {
		return "", errors.New("its audience is " + parts[0])
	}
	return strings.ReplaceAll(parts[1], "-", "."), nil
}

const (
	login  = "url.login@shop-test.signature"
	mailer = "url.mailer@shop-test.signature"
)

func TestDecisions(t *testing.T) {
	private := []string{"serviceAccount:login@shop.test"}
	refused, unverified := verdict{status: http.StatusForbidden}, verdict{status: http.StatusUnauthorized}
	admitted := func(header string) verdict {
		return verdict{admitted: true, header: header, caller: "login@shop.test"}
	}
	for name, c := range map[string]struct {
		invokers []string
		header   http.Header
		want     verdict
	}{
		"invoker":                      {private, http.Header{authorization: {"Bearer " + login}}, admitted(authorization)},
		"scheme in lower case":         {private, http.Header{authorization: {"bearer " + login}}, admitted(authorization)},
		"audience with a slash":        {private, http.Header{authorization: {"Bearer url/.login@shop-test.signature"}}, admitted(authorization)},
		"custom audience":              {private, http.Header{authorization: {"Bearer custom.login@shop-test.signature"}}, admitted(authorization)},
		"custom audience and a slash":  {private, http.Header{authorization: {"Bearer custom/.login@shop-test.signature"}}, unverified},
		"audience of another service":  {private, http.Header{authorization: {"Bearer other.login@shop-test.signature"}}, unverified},
		"no token":                     {private, http.Header{}, refused},
		"empty headers":                {private, http.Header{authorization: {""}, serverlessAuthorization: {" "}}, refused},
		"Basic":                        {private, http.Header{authorization: {"Basic bG9naW46cGFzc3dvcmQ="}}, unverified},
		"no scheme":                    {private, http.Header{authorization: {login}}, unverified},
		"Bearer and nothing":           {private, http.Header{authorization: {"Bearer "}}, unverified},
		"bad token":                    {private, http.Header{authorization: {"Bearer url.login@shop-test.other"}}, unverified},
		"two headers":                  {private, http.Header{authorization: {"Bearer " + login, "Bearer " + login}}, unverified},
		"two tokens":                   {private, http.Header{authorization: {"Bearer " + login + ", Bearer " + login}}, unverified},
		"not an invoker":               {private, http.Header{authorization: {"Bearer " + mailer}}, verdict{status: http.StatusForbidden, caller: "mailer@shop.test"}},
		"nobody is":                    {nil, http.Header{authorization: {"Bearer " + login}}, verdict{status: http.StatusForbidden, caller: "login@shop.test"}},
		"serverless":                   {private, http.Header{serverlessAuthorization: {"Bearer " + login}}, admitted(serverlessAuthorization)},
		"serverless counts":            {private, http.Header{serverlessAuthorization: {"Bearer " + login}, authorization: {"Basic x"}}, admitted(serverlessAuthorization)},
		"serverless counts when bad":   {private, http.Header{serverlessAuthorization: {"Bearer x"}, authorization: {"Bearer " + login}}, unverified},
		"serverless of no invoker":     {private, http.Header{serverlessAuthorization: {"Bearer " + mailer}, authorization: {"Bearer " + login}}, verdict{status: http.StatusForbidden, caller: "mailer@shop.test"}},
		"empty serverless":             {private, http.Header{serverlessAuthorization: {""}, authorization: {"Bearer " + login}}, admitted(authorization)},
		"identity in other headers":    {private, http.Header{"X-Cloudtasks-Queuename": {"q"}, "X-Goog-Authenticated-User-Email": {"login@shop.test"}}, refused},
		"public":                       {[]string{"allUsers"}, http.Header{}, verdict{admitted: true}},
		"public with a bad token":      {[]string{"allUsers"}, http.Header{authorization: {"Bearer x"}}, verdict{admitted: true}},
		"authenticated users, nobody":  {[]string{"allAuthenticatedUsers"}, http.Header{}, refused},
		"authenticated users, someone": {[]string{"allAuthenticatedUsers"}, http.Header{authorization: {"Bearer " + login}}, admitted(authorization)},
	} {
		p, err := newPolicy(c.invokers)
		if err != nil {
			t.Fatal(err)
		}
		got := checker{policy: p, verifier: names{}, audiences: []string{"url", "url/", "custom"}}.check(c.header)
		if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(verdict{}), cmpopts.IgnoreFields(verdict{}, "reason")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got.admitted != (got.reason == "") || strings.Contains(got.reason, login) {
			t.Errorf("%s: admitted %v for %q", name, got.admitted, got.reason)
		}
	}
}

func TestWithoutSignature(t *testing.T) {
	for value, want := range map[string]string{
		"Bearer a.b.c": "Bearer a.b.SIGNATURE_REMOVED_BY_GOOGLE",
		"bearer a.b.c": "bearer a.b.SIGNATURE_REMOVED_BY_GOOGLE",
	} {
		if got := withoutSignature(http.Header{authorization: {"", value}}, authorization); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}
