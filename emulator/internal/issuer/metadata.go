package issuer

import (
	"io"
	"net/http"
	"net/url"
	"strings"
)

const (
	metadataPath = "/computeMetadata/v1/"
	// accountPath is where each account has a metadata server of its own, below its email address.
	accountPath  = "/_emulator/metadata/"
	instanceName = "emulator"
	scope        = "https://www.googleapis.com/auth/cloud-platform"
)

// metadataServer serves those parts of Google's metadata server by which clients learn who and where they are.
type metadataServer struct {
	issuer  *Issuer
	account string // the default one
	anyone  bool   // any other may be asked for by its email address
}

// Metadata is a metadata server that knows one account, and calls it the default. It fails when the account is not an
// email address.
func (i *Issuer) Metadata(account string) (http.Handler, error) {
	if err := checkAccount(account); err != nil {
		return nil, err
	}
	return metadataServer{issuer: i, account: account}.handler(), nil
}

// serveMetadataOf is [Issuer.Metadata] below a path, for clients that append to GCE_METADATA_HOST as it is, as Google's
// for Go does. Its client for Node keeps only the host and the port.
func (i *Issuer) serveMetadataOf(w http.ResponseWriter, r *http.Request) {
	account := r.PathValue("account")
	server, err := i.Metadata(account)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	below := r.Clone(r.Context())
	below.URL.Path, below.URL.RawPath = strings.TrimPrefix(r.URL.Path, accountPath+account), ""
	server.ServeHTTP(w, below)
}

func (s metadataServer) handler() http.Handler {
	project, number, location := s.issuer.config.Project, ProjectNumber(s.issuer.config.Project), s.issuer.config.Location
	mux := http.NewServeMux()
	for path, value := range map[string]string{
		"{$}":                        "instance/\nproject/\nuniverse/\n",
		"instance/{$}":               "id\nname\nregion\nservice-accounts/\nzone\n",
		"instance/id":                instanceID(s.account),
		"instance/name":              instanceName,
		"instance/region":            "projects/" + number + "/regions/" + location,
		"instance/zone":              "projects/" + number + "/zones/" + s.issuer.zone(),
		"project/{$}":                "numeric-project-id\nproject-id\n",
		"project/project-id":         project,
		"project/numeric-project-id": number,
		"universe/universe-domain":   "googleapis.com",
	} {
		mux.HandleFunc("GET "+metadataPath+path, func(w http.ResponseWriter, _ *http.Request) { writeText(w, value) })
	}
	const accounts = "GET " + metadataPath + "instance/service-accounts/"
	mux.HandleFunc(accounts+"{$}", s.serveAccounts)
	for path, serve := range map[string]func(http.ResponseWriter, *http.Request, string){
		"{$}":      s.serveAccount,
		"aliases":  func(w http.ResponseWriter, _ *http.Request, _ string) { writeText(w, "default\n") },
		"email":    func(w http.ResponseWriter, _ *http.Request, account string) { writeText(w, account) },
		"scopes":   func(w http.ResponseWriter, _ *http.Request, _ string) { writeText(w, scope+"\n") },
		"identity": s.serveIdentity,
		"token":    s.serveAccessToken,
	} {
		mux.HandleFunc(accounts+"{a}/"+path, func(w http.ResponseWriter, r *http.Request) {
			account, ok := s.find(r.PathValue("a"))
			if !ok {
				http.Error(w, "emulator: this metadata server knows "+s.account+" and no such account", http.StatusNotFound)
				return
			}
			serve(w, r, account)
		})
	}
	return metadataGuard(mux)
}

// find is the account that a path names.
func (s metadataServer) find(name string) (account string, ok bool) {
	switch {
	case name == "default" || name == s.account:
		return s.account, true
	case s.anyone && checkAccount(name) == nil:
		return name, true
	default:
		return "", false
	}
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

func (s metadataServer) serveAccounts(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("recursive") == "" {
		writeText(w, "default/\n"+s.account+"/\n")
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"default": describe(s.account), s.account: describe(s.account)})
}

func (s metadataServer) serveAccount(w http.ResponseWriter, r *http.Request, account string) {
	if r.FormValue("recursive") == "" {
		writeText(w, "aliases\nemail\nidentity\nscopes\ntoken\n")
		return
	}
	writeJSON(w, http.StatusOK, describe(account))
}

func describe(account string) map[string]any {
	return map[string]any{"aliases": []string{"default"}, "email": account, "scopes": []string{scope}}
}

func (s metadataServer) serveIdentity(w http.ResponseWriter, r *http.Request, account string) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || query.Get("audience") == "" {
		http.Error(w, "non-empty audience parameter required", http.StatusBadRequest)
		return
	}
	key := tokenKey{account: account, audience: query.Get("audience")}
	if query.Get("format") == "full" {
		key.variant = withInstance
	}
	idToken, err := s.issuer.idToken(key)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeText(w, idToken)
}

func (s metadataServer) serveAccessToken(w http.ResponseWriter, _ *http.Request, account string) {
	response, err := s.issuer.accessTokenResponse(account)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, http.StatusOK, response)
}

// zone is the one that all instances are in.
func (i *Issuer) zone() string { return i.config.Location + "-1" }

// instanceID is the id of the instance that runs as the account: 19 digits, always the same.
func instanceID(account string) string { return digits("instance:"+account, 19) }

func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "application/text")
	_, _ = io.WriteString(w, text) // the client has gone: nobody is left to tell
}
