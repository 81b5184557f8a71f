package store_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waybill.dev/emulator/internal/store"
)

// files are the hashes of all files below a directory.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	hashes := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == "LOCK" { // closing that would end this process's lock
			return err
		}
		text, err := os.ReadFile(path)
		hashes[path] = fmt.Sprintf("%x", sha256.Sum256(text))
		return err
	}))
	return hashes
}

// refuses opens a directory and reads all that is in it, expects an error that contains each of the words, and no change.
func refuses(t *testing.T, dir string, words ...string) error {
	t.Helper()
	before := files(t, dir)
	s, err := store.Open(store.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		err = s.Scan(nil, func(_, _ []byte) error { return nil })
		must(t, s.Close())
	}
	if diff := cmp.Diff(before, files(t, dir)); diff != "" {
		t.Errorf("the directory was changed (-before +after):\n%s", diff)
	}
	for _, word := range append(words, "store: the directory", dir) {
		if err == nil || !strings.Contains(err.Error(), word) || strings.Contains(err.Error(), "\n") {
			t.Errorf("nothing about %q in: %v", word, err)
		}
	}
	return err
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

func TestForeignDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/notes.txt", "mine")
	refuses(t, dir, "is not the emulator's", "give an empty directory")

	file := t.TempDir() + "/file"
	write(t, file, "mine")
	refuses(t, file, "cannot be read")
}

func TestMarker(t *testing.T) {
	const ours = "WAYBILL-EMULATOR"
	for text, word := range map[string]string{
		"Data of Waybill's emulator, version 2.\nWhatever.\n": "format version 2, and this emulator knows version 1",
		"Data of Waybill's emulator, version 1.\n":            "is damaged",
		"Data of Way": "is damaged",
		"":            "is damaged",
		"\x00\x00":    "is damaged",
	} {
		dir := t.TempDir()
		must(t, filled(t, dir).Close())
		write(t, dir+"/"+ours, text)
		refuses(t, dir, word)
	}
	dir := t.TempDir()
	must(t, filled(t, dir).Close())
	must(t, os.Remove(dir+"/"+ours))
	refuses(t, dir, "is not the emulator's")
}

// A start that was killed before there was anything to keep leaves nothing that the next one minds.
func TestUnfinishedStart(t *testing.T) {
	for _, left := range [][]string{{"LOCK"}, {"LOCK", "WAYBILL-EMULATOR.new"}, {"LOCK", "WAYBILL-EMULATOR", "MANIFEST-000001"}} {
		dir := t.TempDir()
		whole := t.TempDir()
		must(t, open(t, nil, whole).Close())
		for _, name := range left {
			text, err := os.ReadFile(filepath.Join(whole, name))
			if err != nil {
				text = []byte("Data of Way")
			}
			write(t, dir+"/"+name, string(text))
		}
		s := open(t, nil, dir)
		s.Set([]byte("a"), []byte("1"))
		must(t, s.Close())
		if got := content(t, open(t, nil, dir)); !maps.Equal(got, map[string]string{"a": "1"}) {
			t.Errorf("after %v: %v", left, got)
		}
	}
}

func TestTwoAtOnce(t *testing.T) {
	if dir := os.Getenv("STORE_TEST_DIR"); dir != "" { // in the other process
		refuses(t, dir, "another emulator may be using it")
		return
	}
	dir := t.TempDir()
	s := filled(t, dir)
	refuses(t, dir, "another emulator may be using it")

	other := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTwoAtOnce$", "-test.v")
	other.Env = append(os.Environ(), "STORE_TEST_DIR="+dir)
	if out, err := other.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS")) {
		t.Errorf("%v\n%s", err, out)
	}
	must(t, s.Close())
	must(t, open(t, nil, dir).Close())
}

// filled makes a directory with a table, of a first life, and with a log.
func filled(t *testing.T, dir string) (s *store.Store) {
	t.Helper()
	for i := range 100 {
		if i == 0 || i == 60 {
			must(t, s.Close())
			s = open(t, nil, dir)
		}
		s.Set(fmt.Appendf(nil, "t%d", i), bytes.Repeat([]byte{byte(i)}, 4000))
		must(t, s.Sync())
	}
	return s
}

// Each file of a directory, whether its emulator was stopped or killed, is damaged in each of several ways: the error says so, or all
// is there. Only the end of a killed emulator's log can be lost without a trace, see the package's documentation.
func TestDamage(t *testing.T) {
	whole := t.TempDir()
	s := filled(t, whole)
	killed := t.TempDir()
	must(t, os.CopyFS(killed, os.DirFS(whole)))
	want := content(t, s)
	must(t, s.Close())

	for state, whole := range map[string]string{"stopped": whole, "killed": killed} {
		entries, err := os.ReadDir(whole)
		must(t, err)
		for _, entry := range entries {
			name := entry.Name()
			text, err := os.ReadFile(filepath.Join(whole, name))
			must(t, err)
			if len(text) == 0 || strings.HasPrefix(name, "LOCK") {
				continue
			}
			for how, damaged := range map[string][]byte{
				"garbled in the middle": garble(text, len(text)/2),
				"garbled early":         garble(text, 100),
				"zeroed":                make([]byte, len(text)),
				"halved":                text[:len(text)/2],
				"emptied":               {},
				"removed":               nil,
			} {
				t.Run(state+"/"+name+"/"+how, func(t *testing.T) {
					dir := t.TempDir()
					must(t, os.CopyFS(dir, os.DirFS(whole)))
					path := filepath.Join(dir, name)
					if damaged == nil {
						must(t, os.Remove(path))
					} else {
						must(t, os.WriteFile(path, damaged, 0o600))
					}
					before := files(t, dir)
					s, err := store.Open(store.Config{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
					got := map[string]string{}
					if err == nil {
						err = s.Scan(nil, func(key, value []byte) error {
							got[string(key)] = string(value)
							return nil
						})
						must(t, s.Close())
					}
					if diff := cmp.Diff(before, files(t, dir)); diff != "" {
						t.Errorf("changed:\n%s", diff)
					}
					mayEnd := state == "killed" && strings.HasSuffix(name, ".log") && (how == "zeroed" || how == "halved" || how == "emptied")
					switch {
					case err == nil && mayEnd:
						for i := range 100 {
							if _, ok := got[fmt.Sprintf("t%d", i)]; ok != (i < len(got)) {
								t.Errorf("%d pairs, and not the first ones", len(got))
							}
						}
					case err == nil && !maps.Equal(want, got):
						t.Errorf("opened with %d of %d pairs", len(got), len(want))
					case err != nil && !errors.Is(err, store.ErrDamaged) && !strings.Contains(err.Error(), "is not the emulator's"):
						t.Errorf("not said to be damaged: %v", err)
					case err != nil && strings.Contains(err.Error(), "\n"):
						t.Errorf("more than a line: %v", err)
					}
				})
			}
		}
	}
}

func garble(text []byte, at int) []byte {
	text = bytes.Clone(text)
	for i := at; i < len(text) && i < at+8; i++ {
		text[i] ^= 0x5a
	}
	return text
}
