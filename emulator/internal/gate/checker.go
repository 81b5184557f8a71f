package gate

import (
	"net/http"
	"strings"
)

const (
	authorization           = "Authorization"
	serverlessAuthorization = "X-Serverless-Authorization"
)

// checker decides who is let in.
type checker struct {
	policy    *policy
	verifier  Verifier
	audiences []string
}

// verdict is what becomes of a request.
type verdict struct {
	admitted bool
	header   string // the one whose token was verified; empty on a public service
	caller   string // the account, if its token is good
	status   int    // of the answer, if the request is refused
	reason   string // why it is refused
}

func (c checker) check(h http.Header) verdict {
	if c.policy.public() {
		return verdict{admitted: true}
	}
	header, values := credentials(h)
	if len(values) == 0 {
		return verdict{status: http.StatusForbidden, reason: "the request was not authenticated: it has no token, neither in Authorization nor in X-Serverless-Authorization"}
	}
	unauthorized := func(reason string) verdict {
		return verdict{status: http.StatusUnauthorized, reason: "the token in " + header + " could not be verified: " + reason}
	}
	if len(values) > 1 {
		return unauthorized("the header is there more than once")
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return unauthorized("the scheme is not Bearer")
	}
	if token = strings.TrimSpace(token); strings.ContainsAny(token, ", ") {
		return unauthorized("there is more than one token")
	}
	email, err := c.verifier.VerifyIDToken(token, c.audiences...)
	if err != nil {
		return unauthorized(err.Error())
	}
	if !c.policy.allows(email) {
		return verdict{status: http.StatusForbidden, caller: email, reason: email + " does not hold roles/run.invoker on this service"}
	}
	return verdict{admitted: true, header: header, caller: email}
}

// credentials are the values of the header that counts. Empty ones do not.
func credentials(h http.Header) (header string, values []string) {
	for _, header = range []string{serverlessAuthorization, authorization} {
		for _, v := range h.Values(header) {
			if strings.TrimSpace(v) != "" {
				values = append(values, v)
			}
		}
		if len(values) > 0 {
			break
		}
	}
	return header, values
}
