package store_test

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"waybill.dev/emulator/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const dir = "data"

// open opens a Store and closes it when the test ends.
func open(t *testing.T, fs vfs.FS, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(store.Config{Dir: dir, FS: fs, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// content is all that a Store has.
func content(t *testing.T, s *store.Store) map[string]string {
	t.Helper()
	pairs := map[string]string{}
	var last string
	must(t, s.Scan(nil, func(key, value []byte) error {
		if string(key) <= last {
			t.Errorf("key %q after %q", key, last)
		}
		last = string(key)
		pairs[last] = string(value)
		return nil
	}))
	return pairs
}

// model is what a Store should have.
type model struct {
	acknowledged map[string]string   // at the last Sync without an error
	since        map[string][]string // what each key has been since then, also ""
}

func newModel() *model { return &model{map[string]string{}, map[string][]string{}} }

func (m *model) set(s *store.Store, key, value string) {
	s.Set([]byte(key), []byte(value))
	m.since[key] = append(m.since[key], value)
}

func (m *model) remove(s *store.Store, key string) {
	s.Delete([]byte(key))
	m.since[key] = append(m.since[key], "")
}

func (m *model) sync(s *store.Store) error {
	err := s.Sync()
	if err != nil {
		return err
	}
	for key, values := range m.since {
		m.acknowledged[key] = values[len(values)-1]
		if m.acknowledged[key] == "" {
			delete(m.acknowledged, key)
		}
	}
	clear(m.since)
	return nil
}

// check reports what was acknowledged and is lost, and what nobody has written.
func (m *model) check(got map[string]string) error {
	keys := slices.Collect(maps.Keys(got))
	keys = slices.AppendSeq(keys, maps.Keys(m.acknowledged))
	for _, key := range keys {
		if got[key] != m.acknowledged[key] && !slices.Contains(m.since[key], got[key]) {
			return fmt.Errorf("%q is %.20q, was acknowledged as %.20q, and may be %.20q", key, got[key], m.acknowledged[key], m.since[key])
		}
	}
	return nil
}
