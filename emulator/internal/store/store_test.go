package store_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"waybill.dev/emulator/internal/store"
)

func TestPairsOutliveTheStore(t *testing.T) {
	path := t.TempDir() + "/new/data"
	s := open(t, nil, path)
	for _, key := range []string{"ta", "tb", "tc", "td", "pa"} {
		s.Set([]byte(key), []byte("of "+key))
	}
	s.Set([]byte("tb"), []byte("again"))
	must(t, s.Sync())
	s.Delete([]byte("ta"))
	s.DeleteRange([]byte("tc"), []byte("td"))
	must(t, s.Close()) // writes what is buffered
	must(t, s.Close())

	s = open(t, nil, path)
	if diff := cmp.Diff(map[string]string{"tb": "again", "td": "of td", "pa": "of pa"}, content(t, s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	s.Set([]byte("te"), nil)
	must(t, s.Sync())
	got := map[string]string{}
	must(t, s.Scan([]byte("t"), func(key, value []byte) error {
		got[string(key)] = string(value)
		return nil
	}))
	if diff := cmp.Diff(map[string]string{"tb": "again", "td": "of td", "te": ""}, got); diff != "" {
		t.Errorf("below t (-want +got):\n%s", diff)
	}
	stop := errors.New("stop")
	if err := s.Scan(nil, func(_, _ []byte) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("Scan: %v", err)
	}
}

func TestScanEndsWithThePrefix(t *testing.T) {
	s := open(t, vfs.NewMem(), dir)
	for _, key := range []string{"a", "a\xff", "a\xffb", "b", "\xff", "\xff\xffx"} {
		s.Set([]byte(key), nil)
	}
	must(t, s.Sync())
	for prefix, want := range map[string]int{"": 6, "a": 3, "a\xff": 2, "\xff": 2, "\xff\xff": 1, "c": 0} {
		n := 0
		must(t, s.Scan([]byte(prefix), func(key, _ []byte) error {
			if !strings.HasPrefix(string(key), prefix) {
				t.Errorf("%q below %q", key, prefix)
			}
			n++
			return nil
		}))
		if n != want {
			t.Errorf("below %q: %d pairs, want %d", prefix, n, want)
		}
	}
}

func TestNoStoreKeepsNothing(t *testing.T) {
	var s *store.Store
	s.Set([]byte("a"), nil)
	s.Delete([]byte("a"))
	s.DeleteRange([]byte("a"), []byte("b"))
	s.Flush()
	must(t, errors.Join(s.Sync(), s.Ready(), s.Scan(nil, nil), s.Close()))
}

func TestAfterCloseNothingIsAcknowledged(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, fs, dir)
	s.Set([]byte("a"), []byte("1"))
	must(t, s.Close())
	s.Set([]byte("b"), []byte("1"))
	s.Flush()
	must(t, s.Ready())
	if got := content(t, open(t, fs, dir)); !maps.Equal(got, map[string]string{"a": "1"}) {
		t.Errorf("there is %v", got)
	}
}
