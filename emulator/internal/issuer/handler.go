package issuer

import (
	"encoding/json"
	"math/big"
	"net/http"
	"time"
)

// The paths of the keys and of the token endpoint, below the emulator's base URL.
const (
	keysPath = "/oauth2/v3/certs"
	// authorizationPath is named in documents and leads nowhere: nobody signs in with a browser here.
	authorizationPath = "/o/oauth2/auth"
	tokenPath         = "/token"
	// maxRequest is far more than an assertion or an audience takes.
	maxRequest = 64 << 10
)

// KeysURL is where the public keys are.
func (i *Issuer) KeysURL() string { return i.config.URL + keysPath }

// TokenURL is the token endpoint.
func (i *Issuer) TokenURL() string { return i.config.URL + tokenPath }

// Register adds everything that the Issuer serves, key files at GET /_emulator/keys/ACCOUNT included.
func (i *Issuer) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET "+discoveryPath, i.serveDiscovery)
	mux.HandleFunc("GET "+keysPath, i.serveKeys)
	mux.HandleFunc("POST "+tokenPath, i.serveToken)
	mux.HandleFunc("POST /v1/projects/-/serviceAccounts/{method}", i.serveCredentials)
	mux.HandleFunc("GET /_emulator/keys/{account}", i.serveKeyFile)
	mux.Handle(metadataPath, metadataServer{issuer: i, account: i.config.Account, anyone: true}.handler())
	mux.HandleFunc("GET "+accountPath+"{account}/", i.serveMetadataOf)
}

// jwk is an RSA key of a JWKS (RFC 7517, RFC 7518).
type jwk struct {
	KeyType   string `json:"kty"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
	KeyID     string `json:"kid"`
	Modulus   string `json:"n"`
	Exponent  string `json:"e"`
}

func (i *Issuer) serveKeys(w http.ResponseWriter, _ *http.Request) {
	var keys []jwk
	for _, pair := range i.keys.published() {
		private, id, err := pair.get()
		if err != nil {
			http.Error(w, "emulator: no keys: "+err.Error(), http.StatusInternalServerError)
			return
		}
		keys = append(keys, jwk{
			KeyType:   "RSA",
			Algorithm: "RS256",
			Use:       "sig",
			KeyID:     id,
			Modulus:   base64url().EncodeToString(private.N.Bytes()),
			Exponent:  base64url().EncodeToString(big.NewInt(int64(private.E)).Bytes()),
		})
	}
	// Google allows hours. Ours change on demand and with every start of the emulator, so receivers should look again soon.
	w.Header().Set("Cache-Control", "public, max-age=60, must-revalidate, no-transform")
	writeJSON(w, http.StatusOK, map[string]any{"keys": keys})
}

func (i *Issuer) serveKeyFile(w http.ResponseWriter, r *http.Request) {
	file, err := i.keyFile(r.PathValue("account"), "http://"+r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(file) // the client has gone: nobody is left to tell
}

// accessTokenResponse is the body of both the token endpoint and the metadata server.
func (i *Issuer) accessTokenResponse(account string) (map[string]any, error) {
	accessToken, err := i.AccessToken(account)
	if err != nil {
		return nil, err
	}
	return map[string]any{
		"access_token": accessToken,
		"expires_in":   int(time.Hour/time.Second) - 1,
		"token_type":   "Bearer",
	}, nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	if w.Header().Get("Cache-Control") == "" {
		w.Header().Set("Cache-Control", "no-store") // RFC 6749, 5.1: a response with a token is never kept
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone: nobody is left to tell
}

// writeAPIError answers in the form of Google's JSON APIs.
func writeAPIError(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, map[string]any{"error": map[string]any{"code": status, "message": message, "status": code}})
}
