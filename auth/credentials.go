package auth

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2/google"
)

const (
	impersonateHelp = "gcloud auth application-default login --impersonate-service-account=ACCOUNT@PROJECT.iam.gserviceaccount.com " +
		"(you need roles/iam.serviceAccountTokenCreator on that account); against the emulator, use the key file that it gives for the service"
	userLoginHelp = " is a developer's own login, which gets no ID tokens for services. Impersonate a service account instead: " +
		"name it in MinterConfig.Impersonate, or once for all programs: " + impersonateHelp
	nothingHelp = "there is no GOOGLE_APPLICATION_CREDENTIALS, no gcloud login and no metadata server. " +
		"On Google Cloud, attach a service account; on your own machine: " + impersonateHelp
	federationHelp = " has no service_account_impersonation_url: an identity from outside Google Cloud gets ID tokens only for a service account that it may impersonate. " +
		"Name the account in MinterConfig.Impersonate, or create the file again with gcloud iam workload-identity-pools create-cred-config --service-account=ACCOUNT"
)

// credentials are what to mint with, and for whom.
type credentials struct {
	document []byte // nil: the metadata server is to be asked
	kind     google.CredentialsType

	account   string   // the service account to impersonate; empty: the document's own
	delegates []string // accounts in between, in order
	quota     string   // the project whose quota the impersonation counts against
}

// credentials returns the configured document or else, found as idtoken would find it, that of the
// application default credentials.
// https://cloud.google.com/docs/authentication/application-default-credentials
func (c *MinterConfig) credentials() (*credentials, error) {
	const variable = "GOOGLE_APPLICATION_CREDENTIALS"
	switch file := os.Getenv(variable); {
	case len(c.CredentialsJSON) > 0:
		return newCredentials(c.CredentialsJSON, "MinterConfig.CredentialsJSON", c.Impersonate)
	case c.CredentialsFile != "":
		return readCredentials(c.CredentialsFile, "MinterConfig.CredentialsFile "+quote(c.CredentialsFile), c.Impersonate)
	case file != "":
		return readCredentials(file, variable+" "+quote(file), c.Impersonate)
	}
	if file := gcloudFile(); file != "" {
		if _, err := os.Stat(file); err == nil {
			return readCredentials(file, "gcloud's "+quote(file), c.Impersonate)
		}
	}
	if !metadata.OnGCE() {
		return nil, &MintError{Reason: ErrNoCredentials, Detail: nothingHelp}
	}
	return &credentials{account: c.Impersonate}, nil
}

func readCredentials(file, origin, impersonate string) (*credentials, error) {
	document, err := os.ReadFile(file)
	if err != nil {
		return nil, &MintError{Reason: ErrNoCredentials, Detail: origin + " cannot be read: " + err.Error(), Cause: err}
	}
	return newCredentials(document, origin, impersonate)
}

// gcloudFile is where gcloud auth application-default login puts its credentials.
func gcloudFile() string {
	const name = "application_default_credentials.json"
	if runtime.GOOS == "windows" {
		return filepath.Join(os.Getenv("APPDATA"), "gcloud", name)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".config", "gcloud", name)
}

// impersonationURL is how a credentials file names the account that it impersonates.
var impersonationURL = regexp.MustCompile(`^https?://[^/]+/v1/projects/-/serviceAccounts/([^/:@]+@[^/:@]+):generateAccessToken$`)

// credentialsFile are the members of a credentials file that decide for whom it can mint.
// https://google.aip.dev/auth/4110
type credentialsFile struct {
	Type          google.CredentialsType `json:"type"`
	Email         string                 `json:"client_email"`
	Impersonation string                 `json:"service_account_impersonation_url"`
	Delegates     []string               `json:"delegates"`
	Source        json.RawMessage        `json:"source_credentials"`
	QuotaProject  string                 `json:"quota_project_id"`
}

// newCredentials refuses what cannot mint ID tokens, before anything is requested.
func newCredentials(document []byte, origin, impersonate string) (*credentials, error) {
	wrong := func(detail string) (*credentials, error) {
		return nil, &MintError{Reason: ErrCredentials, Detail: origin + detail}
	}
	var f credentialsFile
	if err := json.Unmarshal(document, &f); err != nil || f.Type == "" {
		return wrong(" is not a JSON document with a type: use a service account's key file as it was downloaded")
	}
	c := &credentials{document: document, kind: f.Type, account: impersonate, quota: f.QuotaProject}
	match := impersonationURL.FindStringSubmatch(f.Impersonation)
	switch {
	case impersonate == "":
	case impersonate == f.Email, match != nil && impersonate == match[1]:
		c.account = "" // nobody needs to be allowed to impersonate themselves
	default:
		return c, nil
	}
	switch f.Type {
	case google.ServiceAccount:
		return c, nil
	case google.AuthorizedUser:
		return wrong(userLoginHelp)
	case google.ImpersonatedServiceAccount, google.ExternalAccount:
	default:
		return wrong(" is of type " + quote(string(f.Type)) + "; ID tokens come from service_account, impersonated_service_account and external_account")
	}

	// Both name the account by a URL that is for access tokens. What is left without it is who impersonates.
	if f.Impersonation == "" && f.Type == google.ExternalAccount {
		return wrong(federationHelp)
	}
	if match == nil {
		return wrong(" has a service_account_impersonation_url that names no account; it ends in serviceAccounts/ACCOUNT:generateAccessToken")
	}
	c.account = match[1]
	for _, d := range f.Delegates {
		c.delegates = append(c.delegates, strings.TrimPrefix(d, "projects/-/serviceAccounts/"))
	}
	if f.Type == google.ExternalAccount {
		var err error
		c.document, err = withoutMember(document, "service_account_impersonation_url")
		return c, err
	}
	var source credentialsFile
	if err := json.Unmarshal(f.Source, &source); err != nil || source.Type == "" {
		return wrong(" has no source_credentials to impersonate with")
	}
	c.document, c.kind, c.quota = f.Source, source.Type, cmp.Or(source.QuotaProject, f.QuotaProject)
	return c, nil
}

func withoutMember(document []byte, name string) ([]byte, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(document, &m); err != nil {
		return nil, err
	}
	delete(m, name)
	return json.Marshal(m)
}
