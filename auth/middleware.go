package auth

import (
	"log/slog"
	"net/http"
	"strings"
)

// VerifyRequest verifies the token in r's Authorization header (the scheme is Bearer, in any case) and returns who calls;
// that of a Verifier for IAP is in X-Goog-Iap-Jwt-Assertion. Nothing else of the request is read: a token in the query,
// in the body or in another header is not one.
func (v *Verifier) VerifyRequest(r *http.Request) (Identity, error) {
	token, err := v.profile.tokenIn(r.Header)
	if err != nil {
		return Identity{}, err
	}
	return v.Verify(r.Context(), token)
}

func (p *profile) tokenIn(h http.Header) (string, error) {
	values := h[p.header]
	switch {
	case len(values) > 1:
		return "", refuse(ErrAmbiguousHeader, "there are several "+p.header+" headers, and which one counts cannot be known: send one")
	case len(values) == 0 && p.bearer:
		return "", refuse(ErrNoToken, "send one as Authorization: Bearer TOKEN")
	case len(values) == 0:
		return "", refuse(ErrNoToken, "there is no "+p.header+" header: the request did not come through Identity-Aware Proxy")
	}
	token := values[0]
	if p.bearer {
		var scheme string
		scheme, token, _ = strings.Cut(token, " ")
		if !strings.EqualFold(scheme, "Bearer") {
			return "", refuse(ErrNoToken, "the scheme of the Authorization header is not Bearer: send the token as Authorization: Bearer TOKEN")
		}
	}
	token = strings.Trim(token, " ")
	switch {
	case token == "":
		return "", refuse(ErrNoToken, "the "+p.header+" header holds no token")
	case len(token) <= maxTokenBytes && strings.ContainsAny(token, ", \t"):
		return "", refuse(ErrMalformed, "it holds a comma or a space: send one token and nothing else")
	}
	return token, nil
}

// Middleware lets a request through to next only if its token verifies. The check happens before anything of the body is
// read. next finds who calls by [IdentityFrom]. A refused request is answered by [WriteError] and logged with its reason,
// never with its token.
func (v *Verifier) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := v.VerifyRequest(r)
		if err != nil {
			v.config.Logger.LogAttrs(r.Context(), slog.LevelWarn, "request refused",
				slog.Int("status", Status(err)), slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("error", err))
			WriteError(w, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(ContextWithIdentity(r.Context(), id)))
	})
}
