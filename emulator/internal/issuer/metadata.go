package issuer

import (
	"io"
	"net/http"
	"net/url"
)

const metadataPath = "/computeMetadata/v1/"

// metadata serves those parts of Google's metadata server by which clients learn who and where they are.
// Any account may be asked for by its email address: one emulator plays several services.
func (i *Issuer) metadata() http.Handler {
	number := ProjectNumber(i.config.Project)
	mux := http.NewServeMux()
	for path, value := range map[string]string{
		"{$}":                                  "instance/\nproject/\nuniverse/\n",
		"instance/{$}":                         "id\nregion\nservice-accounts/\nzone\n",
		"instance/id":                          digits("instance:"+i.config.Account, 19),
		"instance/region":                      "projects/" + number + "/regions/" + i.config.Location,
		"instance/zone":                        "projects/" + number + "/zones/" + i.config.Location + "-1",
		"instance/service-accounts/{$}":        "default/\n" + i.config.Account + "/\n",
		"project/{$}":                          "numeric-project-id\nproject-id\n",
		"project/project-id":                   i.config.Project,
		"project/numeric-project-id":           number,
		"universe/universe-domain":             "googleapis.com",
		"instance/service-accounts/{a}/{$}":    "aliases\nemail\nidentity\nscopes\ntoken\n",
		"instance/service-accounts/{a}/scopes": "https://www.googleapis.com/auth/cloud-platform\n",
	} {
		mux.HandleFunc("GET "+metadataPath+path, func(w http.ResponseWriter, r *http.Request) {
			if path == "instance/service-accounts/{a}/{$}" && r.FormValue("recursive") != "" {
				i.serveAccount(w, r)
				return
			}
			writeText(w, value)
		})
	}
	accounts := "GET " + metadataPath + "instance/service-accounts/{a}/"
	mux.HandleFunc(accounts+"email", func(w http.ResponseWriter, r *http.Request) { writeText(w, i.account(r)) })
	mux.HandleFunc(accounts+"identity", i.serveIdentity)
	mux.HandleFunc(accounts+"token", i.serveAccessToken)
	return mux
}

// metadataGuard does what the real server does against requests that a client was tricked into.
func metadataGuard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		w.Header().Set("Server", "Metadata Server for VM")
		if r.Header.Get("Metadata-Flavor") != "Google" {
			http.Error(w, "missing required header: Metadata-Flavor: Google", http.StatusForbidden)
			return
		}
		if r.Header.Get("X-Forwarded-For") != "" {
			http.Error(w, "a request with X-Forwarded-For is refused", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// account is the account of the path, "default" resolved.
func (i *Issuer) account(r *http.Request) string {
	if a := r.PathValue("a"); a != "default" {
		return a
	}
	return i.config.Account
}

func (i *Issuer) serveIdentity(w http.ResponseWriter, r *http.Request) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || query.Get("audience") == "" {
		http.Error(w, "non-empty audience parameter required", http.StatusBadRequest)
		return
	}
	key := tokenKey{account: i.account(r), audience: query.Get("audience")}
	if query.Get("format") == "full" {
		key.variant = withInstance
	}
	idToken, err := i.idToken(key)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	writeText(w, idToken)
}

func (i *Issuer) serveAccessToken(w http.ResponseWriter, r *http.Request) {
	response, err := i.accessTokenResponse(i.account(r))
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	writeJSON(w, http.StatusOK, response)
}

func (i *Issuer) serveAccount(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]any{
		"aliases": []string{"default"},
		"email":   i.account(r),
		"scopes":  []string{"https://www.googleapis.com/auth/cloud-platform"},
	})
}

func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "application/text")
	_, _ = io.WriteString(w, text) // the client has gone: nobody is left to tell
}
