package issuer

import "net/http"

const discoveryPath = "/.well-known/openid-configuration"

// serveDiscovery answers as https://accounts.google.com/.well-known/openid-configuration does, with this emulator's
// addresses as the client reached it. The issuer is Google's, since that is what tokens carry. Endpoints for people who
// sign in with a browser are left out, but for the one that OpenID Connect Discovery requires; nothing answers there.
func (i *Issuer) serveDiscovery(w http.ResponseWriter, r *http.Request) {
	base := "http://" + r.Host
	w.Header().Set("Cache-Control", "public, max-age=3600")
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                Name,
		"authorization_endpoint":                base + authorizationPath,
		"token_endpoint":                        base + tokenPath,
		"jwks_uri":                              base + keysPath,
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"scopes_supported":                      []string{"openid", "email"},
		"claims_supported":                      []string{"aud", "azp", "email", "email_verified", "exp", "iat", "iss", "sub"},
		"grant_types_supported":                 []string{grantType},
	})
}
