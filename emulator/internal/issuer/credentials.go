package issuer

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// serveCredentials is those methods of the IAM Credentials API by which one account mints for another
// (https://cloud.google.com/iam/docs/reference/credentials/rest). Everybody may, see the package's documentation.
func (i *Issuer) serveCredentials(w http.ResponseWriter, r *http.Request) {
	account, method, _ := strings.Cut(r.PathValue("method"), ":")
	answer := map[string]func(string, *json.Decoder) (map[string]any, error){
		"generateIdToken":     i.generateIDToken,
		"generateAccessToken": i.generateAccessToken,
	}[method]
	if answer == nil {
		writeAPIError(w, http.StatusNotFound, "NOT_FOUND", "the emulator serves generateIdToken and generateAccessToken here and nothing else")
		return
	}
	if checkAccount(account) != nil {
		// Google's own words.
		writeAPIError(w, http.StatusBadRequest, "INVALID_ARGUMENT", fmt.Sprintf("Invalid form of account ID %s. Should be [Gaia ID |Email |Unique ID |] of the account", account))
		return
	}
	body := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	body.DisallowUnknownFields() // as Google does
	response, err := answer(account, body)
	if err != nil {
		writeAPIError(w, http.StatusBadRequest, "INVALID_ARGUMENT", err.Error())
		return
	}
	writeJSON(w, http.StatusOK, response)
}

func (i *Issuer) generateIDToken(account string, body *json.Decoder) (map[string]any, error) {
	var request struct {
		Audience     string   `json:"audience"`
		Delegates    []string `json:"delegates"`
		IncludeEmail bool     `json:"includeEmail"`
	}
	if err := body.Decode(&request); err != nil {
		return nil, fmt.Errorf(`the body must be JSON, as in {"audience": "https://mailer.example.com", "includeEmail": true}: %w`, err)
	}
	if err := checkDelegates(request.Delegates); err != nil {
		return nil, err
	}
	key := tokenKey{account: account, audience: request.Audience, variant: withoutEmail}
	if request.IncludeEmail {
		key.variant = withEmail
	}
	idToken, err := i.idToken(key)
	return map[string]any{"token": idToken}, err
}

func (i *Issuer) generateAccessToken(account string, body *json.Decoder) (map[string]any, error) {
	var request struct {
		Delegates []string `json:"delegates"`
		Lifetime  string   `json:"lifetime"`
		Scope     []string `json:"scope"`
	}
	if err := body.Decode(&request); err != nil {
		return nil, fmt.Errorf(`the body must be JSON, as in {"scope": ["https://www.googleapis.com/auth/cloud-platform"]}: %w`, err)
	}
	if err := checkDelegates(request.Delegates); err != nil {
		return nil, err
	}
	if len(request.Scope) == 0 {
		return nil, fmt.Errorf("scope is required, as in https://www.googleapis.com/auth/cloud-platform")
	}
	valid := time.Hour
	if request.Lifetime != "" {
		asked, err := time.ParseDuration(request.Lifetime)
		if err != nil || !strings.HasSuffix(request.Lifetime, "s") || asked <= 0 || asked > time.Hour {
			return nil, fmt.Errorf("lifetime %q must be in seconds, as in 300s, and at most 3600s", request.Lifetime)
		}
		valid = asked
	}
	accessToken, err := i.AccessToken(account)
	return map[string]any{
		"accessToken": accessToken,
		"expireTime":  i.config.Now().Add(valid).UTC().Format(time.RFC3339),
	}, err
}

// checkDelegates wants the form that Google wants. Whether each may mint for the next is not asked.
func checkDelegates(delegates []string) error {
	for _, d := range delegates {
		account, ok := strings.CutPrefix(d, "projects/-/serviceAccounts/")
		if !ok || account == "" || strings.ContainsFunc(account, unfit) {
			return fmt.Errorf("delegate %q must be projects/-/serviceAccounts/EMAIL", d)
		}
	}
	return nil
}
