package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
)

func runVersion(_ context.Context, args []string, stdout, stderr io.Writer) int {
	const usage = "Usage: waybill version\n\nPrints the version, the commit it was built from, and Go's version.\n"
	if code, ok := parse(newFlags("version"), args, usage, stdout, stderr); !ok {
		return code
	}
	info, _ := debug.ReadBuildInfo()
	fmt.Fprintf(stdout, "waybill %s %s %s/%s\n", versionOf(info), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return exitOK
}

// versionOf is the module's version and, where the binary was built in a checkout, its commit.
func versionOf(info *debug.BuildInfo) string {
	if info == nil || info.Main.Version == "" {
		return "(unknown)"
	}
	var revision, modified string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+changes"
		}
	}
	if revision == "" || strings.Contains(info.Main.Version, "-") {
		return info.Main.Version // nothing to add, or a pseudo-version, which holds the commit
	}
	return info.Main.Version + " " + revision[:min(len(revision), 12)] + modified
}
