package main

import (
	"runtime/debug"
	"testing"
)

func TestVersionOf(t *testing.T) {
	info := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: version}, Settings: settings}
	}
	commit := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef0123456789abcdef01234567"}
	modified := debug.BuildSetting{Key: "vcs.modified", Value: "true"}
	for _, tt := range []struct {
		info *debug.BuildInfo
		want string
	}{
		{nil, "(unknown)"},
		{info(""), "(unknown)"},
		{info("v1.2.3"), "v1.2.3"},
		{info("(devel)", commit), "(devel) 0123456789ab"},
		{info("(devel)", commit, modified), "(devel) 0123456789ab+changes"},
		{info("v0.0.0-20260101000000-0123456789ab", commit), "v0.0.0-20260101000000-0123456789ab"},
	} {
		if got := versionOf(tt.info); got != tt.want {
			t.Errorf("version %q, want %q", got, tt.want)
		}
	}
}
