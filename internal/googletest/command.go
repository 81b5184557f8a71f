package googletest

import (
	"context"
	"errors"
	"os/exec"
	"strings"
)

// Command says what starts Google's Pub/Sub emulator: Java, and the jar. The error says which is missing. It takes
// --host and --port, and tells its standard error "Server started" when it listens.
func Command(ctx context.Context) (java, jar string, err error) {
	java, err = exec.LookPath("java")
	if err != nil {
		return "", "", errors.New("Google's Pub/Sub emulator needs java, which is not on the PATH")
	}
	files, err := exec.CommandContext(ctx, "dpkg", "-L", "google-cloud-cli-pubsub-emulator").Output()
	if err != nil {
		return "", "", errors.New("the package google-cloud-cli-pubsub-emulator, Google's Pub/Sub emulator, is not installed")
	}
	for line := range strings.Lines(string(files)) {
		if line = strings.TrimSpace(line); strings.HasSuffix(line, ".jar") {
			jar = line
		}
	}
	if jar == "" {
		return "", "", errors.New("the package google-cloud-cli-pubsub-emulator has no jar")
	}
	return java, jar, nil
}
