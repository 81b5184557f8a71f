package clienttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"waybill.dev/emulator"
	"waybill.dev/internal/testenv"
)

func TestTasksNodeClient(t *testing.T) {
	for _, transport := range []string{"grpc", "rest"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			appEngine, arrivals := receiver(t)
			runNode(t, startWith(t, emulator.Config{AppEngine: appEngine}), "tasks.js", "TRANSPORT="+transport)
			if got := next(t, arrivals); got.method != "POST" || got.path != "/work" || got.body != "hi" {
				t.Errorf("arrived at the App Engine application: %+v", got)
			}
		})
	}
}

func TestPubSubNodeClient(t *testing.T) {
	t.Parallel()
	runNode(t, start(t), "pubsub.js")
}

// runNode runs one of the scripts of the folder node, which are tests of Node's own runner.
func runNode(t *testing.T, e *emulator.Emulator, script string, environ ...string) {
	t.Helper()
	node, modules := nodeModules(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "--test-reporter=spec", filepath.Join("node", script))
	cmd.WaitDelay = 5 * time.Second
	cmd.Env = append(append(append(os.Environ(), e.Environ()...), "NODE_PATH="+modules), environ...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	t.Logf("%s", out)
}

// oldestNode is what the versions in node/package.json need.
const oldestNode = 18

var nodeVersion = regexp.MustCompile(`^v(\d+)\.`)

var installing sync.Mutex // one test installs, the others wait for it

// nodeModules returns the path of node, and a folder with the packages that node/package-lock.json names. They are
// installed when no earlier run has done so, and then moved to their place, so that tests may run beside each other.
func nodeModules(t *testing.T) (node, modules string) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short runs no other programs")
	}
	node, err := exec.LookPath("node")
	if err != nil {
		testenv.Missing(t, "node is not on the PATH")
	}
	version, err := exec.CommandContext(t.Context(), node, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	if major := nodeVersion.FindSubmatch(version); major == nil || atoi(string(major[1])) < oldestNode {
		testenv.Missing(t, "node "+string(version)+" is older than Google's clients need")
	}
	npm, err := exec.LookPath("npm")
	if err != nil {
		testenv.Missing(t, "npm, which installs Google's Node clients, is not on the PATH")
	}
	lock, err := os.ReadFile(filepath.Join("node", "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	caches, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(lock)
	caches = filepath.Join(caches, "waybill-test")
	place := filepath.Join(caches, "node-"+hex.EncodeToString(sum[:8]))
	modules = filepath.Join(place, "node_modules")
	installing.Lock()
	defer installing.Unlock()
	if _, err := os.Stat(modules); err == nil {
		return node, modules
	}
	if err := os.MkdirAll(caches, 0o755); err != nil {
		t.Fatal(err)
	}
	fresh, err := os.MkdirTemp(caches, "installing-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(fresh) // it is gone once it has been moved
	if err := os.CopyFS(fresh, os.DirFS("node")); err != nil {
		t.Fatal(err)
	}
	install(t, npm, fresh)
	if err := os.Rename(fresh, place); err != nil && !errors.Is(err, fs.ErrExist) {
		if _, statErr := os.Stat(modules); statErr != nil { // nor has another test been first
			t.Fatal(err)
		}
	}
	return node, modules
}

// install puts the packages of a lock file into a folder. Where the registry is out of reach they count as missing.
func install(t *testing.T, npm, folder string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline")
	cmd.Dir = folder
	cmd.WaitDelay = 5 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		testenv.Missing(t, "npm did not install Google's Node clients: "+err.Error()+"\n"+out.String())
	}
}

func atoi(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}
