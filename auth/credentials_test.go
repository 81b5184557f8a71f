package auth_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cloud.google.com/go/compute/metadata"

	"waybill.dev/auth"
)

func TestCredentials(t *testing.T) {
	clean(t)
	user := marshal(object{"type": "authorized_user", "client_id": "c", "client_secret": "SECRET", "refresh_token": "SECRET"})
	for name, c := range map[string]struct {
		document string
		says     string
	}{
		"a developer's login": {user, "gcloud auth application-default login --impersonate-service-account="},
		"another type":        {`{"type":"gdch_service_account"}`, "gdch_service_account"},
		"no type":             {`{}`, "key file"},
		"not JSON":            {`SECRET`, "key file"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := auth.NewMinter(auth.MinterConfig{CredentialsJSON: []byte(c.document)})
			wantMintError(t, err, auth.ErrCredentials, c.says)

			file := filepath.Join(t.TempDir(), "c.json")
			if err := os.WriteFile(file, []byte(c.document), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
			m, newErr := auth.NewMinter(auth.MinterConfig{})
			if newErr != nil {
				t.Fatal(newErr)
			}
			_, err = m.Token(t.Context(), audience)
			wantMintError(t, err, auth.ErrCredentials, c.says)
			if strings.Contains(err.Error(), "SECRET") || !strings.Contains(err.Error(), "GOOGLE_APPLICATION_CREDENTIALS") {
				t.Errorf("a secret, or no origin: %v", err)
			}
		})
	}
	t.Run("gcloud's file", func(t *testing.T) {
		dir := filepath.Join(os.Getenv("HOME"), ".config", "gcloud")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "application_default_credentials.json"), []byte(user), 0o600); err != nil {
			t.Fatal(err)
		}
		m, err := auth.NewMinter(auth.MinterConfig{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.Token(t.Context(), audience)
		wantMintError(t, err, auth.ErrCredentials, "gcloud's")
	})
	_, err := auth.NewMinter(auth.MinterConfig{CredentialsFile: "/does/not/exist"})
	wantMintError(t, err, auth.ErrNoCredentials, "/does/not/exist")
	_, err = auth.NewMinter(auth.MinterConfig{CredentialsFile: "/does/not/exist", CredentialsJSON: []byte("{}"), MaxAudiences: -1})
	for _, want := range []string{"both", "MaxAudiences"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not report %s", err, want)
		}
	}
}

// TestNoCredentials runs itself in a process without any: whether there is a metadata server is remembered per process.
func TestNoCredentials(t *testing.T) {
	if os.Getenv(childVariable) == "" {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNoCredentials$") //nolint:gosec // this binary
		child.Env = []string{childVariable + "=1", "HOME=" + t.TempDir(), "APPDATA=" + t.TempDir()}
		if out, err := child.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	if metadata.OnGCE() {
		t.Skip("this machine has a metadata server")
	}
	m, err := auth.NewMinter(auth.MinterConfig{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Token(t.Context(), audience)
	wantMintError(t, err, auth.ErrNoCredentials, "gcloud auth application-default login --impersonate-service-account=")
}
