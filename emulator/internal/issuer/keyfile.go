package issuer

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/url"
)

// keyFile is a service-account key file as Google's console makes it.
type keyFile struct {
	Type                string `json:"type"`
	ProjectID           string `json:"project_id"`
	PrivateKeyID        string `json:"private_key_id"`
	PrivateKey          string `json:"private_key"`
	ClientEmail         string `json:"client_email"`
	ClientID            string `json:"client_id"`
	AuthURI             string `json:"auth_uri"`
	TokenURI            string `json:"token_uri"`
	AuthProviderCertURL string `json:"auth_provider_x509_cert_url"`
	ClientCertURL       string `json:"client_x509_cert_url"`
	UniverseDomain      string `json:"universe_domain"`
}

// KeyFile returns a key file of the account whose token endpoint is this Issuer. It is good for
// GOOGLE_APPLICATION_CREDENTIALS and for as long as the Issuer keeps its keys. All accounts share one key pair:
// the account is the one that the file names.
func (i *Issuer) KeyFile(account string) ([]byte, error) {
	return i.keyFile(account, i.config.URL)
}

// keyFile has the base URL by which the caller reached the emulator.
func (i *Issuer) keyFile(account, baseURL string) ([]byte, error) {
	if err := checkAccount(account); err != nil {
		return nil, err
	}
	private, id, err := i.keys.account.get()
	if err != nil {
		return nil, fmt.Errorf("emulator: no key for a key file: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("emulator: encoding a private key: %w", err)
	}
	file, err := json.MarshalIndent(keyFile{
		Type:                "service_account",
		ProjectID:           i.config.Project,
		PrivateKeyID:        id,
		PrivateKey:          string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		ClientEmail:         account,
		ClientID:            subject(account),
		AuthURI:             baseURL + authorizationPath,
		TokenURI:            baseURL + tokenPath,
		AuthProviderCertURL: baseURL + keysPath,
		ClientCertURL:       baseURL + "/robot/v1/metadata/x509/" + url.PathEscape(account),
		UniverseDomain:      "googleapis.com",
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("emulator: encoding a key file: %w", err)
	}
	return append(file, '\n'), nil
}
