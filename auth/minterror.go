package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"cloud.google.com/go/compute/metadata"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

// The reasons why no token could be minted, for errors.Is. The error itself is always a [*MintError].
var (
	ErrNoAudience      = errors.New("auth: no token can be minted for this audience")
	ErrNoCredentials   = errors.New("auth: no credentials to mint an ID token with")
	ErrCredentials     = errors.New("auth: these credentials cannot mint an ID token")
	ErrMintRefused     = errors.New("auth: the ID token was refused")
	ErrMintUnavailable = errors.New("auth: no ID token came") // a matter of time: try again
	ErrMintedToken     = errors.New("auth: the minted token is unusable")
)

// MintError is why a [Minter] has no token. It wraps its Reason and its Cause.
type MintError struct {
	Audience string // the audience that was asked for; empty if the failure concerns all
	Reason   error  // one of this package's sentinels
	Detail   string // what happened and what to do, without secrets
	Cause    error  // what failed underneath; not part of the text, since it may quote an answer; may be nil
}

// Error returns the reason, the audience and the detail.
func (e *MintError) Error() string {
	s := e.Reason.Error()
	if e.Audience != "" {
		s += " (audience " + quote(e.Audience) + ")"
	}
	return s + ": " + e.Detail
}

// Unwrap returns the reason and, if there is one, the cause.
func (e *MintError) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.Cause}
}

// mintError says what to do about an error of idtoken's.
func mintError(audience string, err error) *MintError {
	e := &MintError{Audience: audience, Cause: err}
	if e.fromEndpoint(err, "the key was deleted, the account is disabled, or this machine's clock is wrong") || e.fromMetadata(err) {
		return e
	}
	// What is left comes from the network or from a decoder, and quotes no answer.
	e.Reason, e.Detail = ErrMintUnavailable, "the token endpoint or the metadata server cannot be reached, or its answer holds no token: "+err.Error()
	return e
}

// sourceError says what to do when whoever is to impersonate does not get that far.
func sourceError(audience string, kind google.CredentialsType, err error) *MintError {
	e := &MintError{Audience: audience, Cause: err}
	help := "the credentials to impersonate with are not accepted: the key was deleted, the account is disabled, or this machine's clock is wrong"
	if kind == google.AuthorizedUser {
		help = "the login has expired or was revoked: log in again with gcloud auth application-default login"
	}
	if e.fromEndpoint(err, help) || e.fromMetadata(err) {
		return e
	}
	if status := statusIn(err); status != 0 {
		e.answered("whoever was asked for the credentials to impersonate with", status,
			"check audience, provider and credential_source of the workload identity federation, and that its provider admits this identity")
		return e
	}
	// Some of these errors end in what was answered, after a dash or a line break.
	text, _, _ := strings.Cut(err.Error(), "\n")
	text, _, _ = strings.Cut(text, " - ")
	e.Reason, e.Detail = ErrMintUnavailable, "the credentials to impersonate with did not come: "+text
	return e
}

// impersonationError says what to do about an error of google.golang.org/api/impersonate, which has no type.
func impersonationError(audience string, c *credentials, err error) *MintError {
	e := &MintError{Audience: audience, Cause: err}
	switch status := statusIn(err); status {
	case 0:
		e.Reason, e.Detail = ErrMintUnavailable, "the IAM Credentials API cannot be reached, or its answer holds no token: "+err.Error()
	case http.StatusNotFound:
		e.answered("generateIdToken", status, "there is no service account "+quote(c.account)+": check its name and project")
	default:
		e.answered("generateIdToken", status, c.grantHelp())
	}
	return e
}

// grantHelp is how to let whoever c is impersonate.
func (c *credentials) grantHelp() string {
	who, member, role := "whoever these credentials belong to", "MEMBER", "roles/iam.serviceAccountTokenCreator"
	switch c.kind {
	case "":
		who, member = "the account of this service", "serviceAccount:ITS_ACCOUNT"
	case google.AuthorizedUser:
		who, member = "your own login", "user:YOUR_EMAIL"
	case google.ServiceAccount:
		member = "serviceAccount:ITS_EMAIL"
	case google.ExternalAccount:
		who, member, role = "the identity from outside", "principalSet://iam.googleapis.com/POOL/*", "roles/iam.workloadIdentityUser"
	}
	_, domain, _ := strings.Cut(c.account, "@")
	project, _, _ := strings.Cut(domain, ".")
	return who + " may not impersonate " + c.account + ". Grant it, and wait for some minutes: gcloud iam service-accounts add-iam-policy-binding " + c.account +
		" --member=" + member + " --role=" + role + ". Once for the project: gcloud services enable iamcredentials.googleapis.com --project=" + project
}

// fromEndpoint takes over an answer of an OAuth 2.0 token endpoint. It reports false if err is none.
func (e *MintError) fromEndpoint(err error, help string) bool {
	endpoint, ok := errors.AsType[*oauth2.RetrieveError](err)
	if !ok || endpoint.Response == nil {
		return false
	}
	var answer struct { // RFC 6749, section 5.2; of the rest nothing is repeated
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	_ = json.Unmarshal(endpoint.Body, &answer) // whatever could be read helps
	e.answered("the token endpoint", endpoint.Response.StatusCode, fmt.Sprintf("%s (%s): %s", quote(answer.Error), quote(answer.Description), help))
	return true
}

// fromMetadata takes over an answer of the metadata server. It reports false if err is none.
func (e *MintError) fromMetadata(err error) bool {
	const who = "the metadata server"
	if _, ok := errors.AsType[metadata.NotDefinedError](err); ok {
		e.answered(who, http.StatusNotFound, "attach a service account to this service, VM or workload")
		return true
	}
	server, ok := errors.AsType[*metadata.Error](err)
	if ok {
		e.answered(who, server.Code, "check the service account that is attached to this service, VM or workload")
	}
	return ok
}

func (e *MintError) answered(who string, status int, help string) {
	if status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= http.StatusInternalServerError {
		e.Reason, e.Detail = ErrMintUnavailable, fmt.Sprintf("%s answered %d: try again", who, status)
		return
	}
	e.Reason, e.Detail = ErrMintRefused, fmt.Sprintf("%s answered %d: %s", who, status, help)
}

// statusIn reads the status from an error without a type, in which the answer follows it; 0 if there is none.
func statusIn(err error) int {
	_, rest, found := strings.Cut(err.Error(), "status code ")
	if !found || len(rest) < 3 {
		return 0
	}
	status, _ := strconv.Atoi(rest[:3]) // 0 if it is something else
	return status
}
