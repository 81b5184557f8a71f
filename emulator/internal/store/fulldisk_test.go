package store_test

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"waybill.dev/emulator/internal/store"
	"waybill.dev/internal/testenv"
)

const smallDisk = "STORE_TEST_SMALL_DISK"

// On a real file system of 3 MB, in a mount namespace of a process of its own: who writes more gets an error, and can go on once
// there is room again.
func TestFullDisk(t *testing.T) {
	if dir := os.Getenv(smallDisk); dir != "" {
		fillDisk(t, dir)
		return
	}
	dir := t.TempDir()
	mounted := exec.CommandContext(t.Context(), "unshare", "--user", "--map-root-user", "--mount",
		"sh", "-c", `mount -t tmpfs -o size=3m none "$0" || exit 77; exec "$@"`, dir, os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	mounted.Env = append(os.Environ(), smallDisk+"="+dir)
	out, err := mounted.CombinedOutput()
	if !strings.Contains(string(out), "=== RUN") {
		testenv.Missing(t, fmt.Sprintf("unshare, which needs user namespaces, made no small file system: %v, %s. Only injected errors show then what a full disk does", err, out))
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestFullDisk") {
		t.Errorf("%v\n%s", err, out)
	}
}

func fillDisk(t *testing.T, dir string) {
	ballast := dir + "/ballast"
	data := dir + "/data"
	write(t, ballast, strings.Repeat("x", 1<<20))
	s, err := store.Open(store.WithMemTable(store.Config{Dir: data, Logger: slog.New(slog.DiscardHandler)}, 256<<10))
	must(t, err)
	m := newModel()
	rng := rand.NewChaCha8([32]byte{}) // what cannot be compressed
	value := make([]byte, 20<<10)
	for n := 0; ; n++ {
		_, _ = rng.Read(value) // always fills it
		m.set(s, fmt.Sprintf("t%04d", n), string(value))
		if err = m.sync(s); err != nil {
			break
		}
		if n > 1000 {
			t.Fatal("20 MB fit on a disk of 3 MB")
		}
	}
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "has no room left on its disk: make room") {
		t.Errorf("not a clear error: %v", err)
	}
	for range 20 {
		time.Sleep(20 * time.Millisecond)
		if err := m.sync(s); err == nil {
			t.Error("acknowledged without room")
		}
	}
	must(t, os.Remove(ballast))
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if err = m.sync(s); err == nil {
			break
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("still: %v", err)
		}
	}
	must(t, s.Close())
	s = open(t, nil, data)
	if err := m.check(content(t, s)); err != nil {
		t.Error(err)
	}
	must(t, s.Close())
}
