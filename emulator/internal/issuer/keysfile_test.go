package issuer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAKeysFileOutlivesTheIssuer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "keys.pem")
	config := Config{URL: "http://127.0.0.1:8085", Project: "shop", Location: "us-central1", Keys: path}
	first, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	first.Close() // not before the file is there
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the file of private keys has mode %v", info.Mode().Perm())
	}
	second, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Close)

	token, err := first.IDToken("login@shop.iam.gserviceaccount.com", "https://mailer.test")
	if err != nil {
		t.Fatal(err)
	}
	if claims := second.claimsOf(t, token); claims["aud"] != "https://mailer.test" {
		t.Errorf("claims %v", claims)
	}
	if a, b := keyFileOf(t, first), keyFileOf(t, second); a != b {
		t.Error("a key file of before is not one of after")
	}
	if first.keys.newest().id == first.keys.account.id {
		t.Error("key files hold the key that signs ID tokens")
	}
}

func TestTheKeysFileFollowsRotations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.pem")
	config := Config{URL: "http://127.0.0.1:8085", Project: "shop", Location: "us-central1", Keys: path}
	open := func() *Issuer {
		t.Helper()
		i, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		i.Close() // not before the file is there
		return i
	}
	ids := func(i *Issuer) (ids []string) {
		t.Helper()
		for _, pair := range i.keys.published() {
			_, id, err := pair.get()
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		return ids
	}
	i := open()
	for _, withdraw := range []bool{false, false, true, false} {
		if _, err := i.RotateKeys(withdraw); err != nil {
			t.Fatal(err)
		}
		after := open()
		if diff := cmp.Diff(ids(i), ids(after)); diff != "" {
			t.Errorf("withdraw %v: after a restart (-before +after):\n%s", withdraw, diff)
		}
		if keyFileOf(t, i) != keyFileOf(t, after) {
			t.Error("the key files' key has changed")
		}
	}

	// A file that cannot follow stops the rotation.
	before := ids(i)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := i.RotateKeys(false); err == nil || !strings.Contains(err.Error(), "cannot be written") {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff(before, ids(i)); diff != "" {
		t.Errorf("keys that are not in the file (-want +got):\n%s", diff)
	}
}

func keyFileOf(t *testing.T, i *Issuer) string {
	t.Helper()
	file, err := i.KeyFile("login@shop.iam.gserviceaccount.com")
	if err != nil {
		t.Fatal(err)
	}
	return string(file)
}

func TestAFileThatIsNoKeysFileIsLeftAlone(t *testing.T) {
	good := filepath.Join(t.TempDir(), "keys.pem")
	i, err := New(Config{URL: "http://127.0.0.1:8085", Project: "shop", Location: "us-central1", Keys: good})
	if err != nil {
		t.Fatal(err)
	}
	i.Close() // not before the file is there
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	half, _, _ := strings.Cut(string(whole), "-----END PRIVATE KEY-----")
	one, _, _ := strings.Cut(string(whole), "-----END PRIVATE KEY-----\n")
	one += "-----END PRIVATE KEY-----\n"
	for name, content := range map[string]string{
		"something else":        "my shopping list",
		"half a file":           half,
		"one key":               one,
		"one key twice":         one + one,
		"one key of two uses":   strings.Replace(one, useIDTokens, usePublished, 1) + one,
		"a key of another kind": strings.Replace(string(whole), useKeyFiles, "tls", 1),
		"a bad key":             "-----BEGIN PRIVATE KEY-----\nWaybill-Emulator-Key: id-tokens\n\nAAAA\n-----END PRIVATE KEY-----\n",
	} {
		path := filepath.Join(t.TempDir(), "keys.pem")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := New(Config{URL: "http://127.0.0.1:8085", Project: "shop", Location: "us-central1", Keys: path})
		if err == nil || !strings.Contains(err.Error(), "delete it to have it made anew") {
			t.Errorf("%s: %v", name, err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != content {
			t.Errorf("%s: the file was touched: %v", name, err)
		}
	}
	if _, err := New(Config{URL: "http://127.0.0.1:8085", Project: "shop", Location: "us-central1", Keys: t.TempDir()}); err == nil {
		t.Error("a folder was taken for a file")
	}
}

// Nothing waits for keys: New must return before they are there, also when they are to be kept.
func TestNewDoesNotWaitForItsKeys(t *testing.T) {
	for _, path := range []string{"", filepath.Join(t.TempDir(), "keys.pem")} {
		i, err := New(Config{URL: "http://127.0.0.1:8085", Project: "shop", Location: "us-central1", Keys: path})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-i.keys.newest().ready:
			t.Errorf("file %q: the keys are ready at once; are they made before New returns?", path)
		default:
		}
		if path != "" { // a rotation waits for the file, and is in it
			if _, err := i.RotateKeys(false); err != nil {
				t.Error(err)
			}
		}
		i.Close()
		select {
		case <-i.keys.newest().ready:
		case <-time.After(time.Minute):
			t.Error("Close does not wait for the keys")
		}
		if path == "" {
			continue
		}
		after, err := New(Config{URL: "http://127.0.0.1:8085", Project: "shop", Location: "us-central1", Keys: path})
		if err != nil {
			t.Fatal(err)
		}
		if len(after.keys.published()) != 2 || after.keys.newest().id != i.keys.newest().id {
			t.Error("the file does not have the keys of the rotation")
		}
	}
}

func TestAFolderThatCannotHoldTheFileShowsAtTheStart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := New(Config{URL: "http://127.0.0.1:8085", Project: "shop", Location: "us-central1", Keys: filepath.Join(file, "keys.pem")})
	if err == nil || !strings.Contains(err.Error(), "the file of its keys") {
		t.Errorf("%v", err)
	}
}

// What goes wrong after the start is told, once the keys are there.
func TestAFileThatCannotBeMadeAfterAllIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.pem")
	var failure error
	k, err := makeKeysFile(path, func(err error) { failure = err })
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil { // much sooner than two keys are made
		t.Fatal(err)
	}
	k.making.Wait()
	if failure == nil || !strings.Contains(failure.Error(), "cannot be written") {
		t.Errorf("told: %v", failure)
	}
}
