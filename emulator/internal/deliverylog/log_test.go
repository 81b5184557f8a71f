package deliverylog

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func newLog() (*Log, *strings.Builder) {
	var lines strings.Builder
	logger := slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	return New(logger, slog.String("queue", "mails")), &lines
}

func TestOncePerTargetAndReason(t *testing.T) {
	log, lines := newLog()
	const a, b = "http://user:pass@a.test/x?token=secret", "http://b.test"
	id := func(n int) slog.Attr { return slog.Int("task", n) }
	ctx := t.Context()
	log.Succeeded(ctx, a, id(0)) // nothing has failed
	log.Failed(ctx, a, "connection refused", id(1))
	log.Failed(ctx, a, "connection refused", id(2))
	log.Refused(ctx, a, 403, "who are you?", id(3))
	log.Refused(ctx, a, 403, "who are you?", id(4))
	log.Refused(ctx, a, 401, "who are you?", id(5))
	log.Refused(ctx, b, 403, "who are you?", id(6))
	log.Succeeded(ctx, a, id(7))
	log.Succeeded(ctx, a, id(8))
	log.Refused(ctx, b, 403, "who are you?", id(9)) // b still fails
	log.Failed(ctx, a, "connection refused", id(10))
	want := `level=WARN msg="delivery failed" target=http://a.test/x reason="connection refused" queue=mails task=1
level=WARN msg="delivery refused" target=http://a.test/x reason="who are you?" status=403 queue=mails task=3
level=WARN msg="delivery refused" target=http://a.test/x reason="who are you?" status=401 queue=mails task=5
level=WARN msg="delivery refused" target=http://b.test reason="who are you?" status=403 queue=mails task=6
level=INFO msg="delivery works again" target=http://a.test/x queue=mails task=7
level=WARN msg="delivery failed" target=http://a.test/x reason="connection refused" queue=mails task=10
`
	if diff := cmp.Diff(want, lines.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	log, lines := newLog()
	for i := range 3 * maxReasons {
		log.Failed(t.Context(), "http://a.test", fmt.Sprint("request ", i), slog.Int("task", i))
	}
	if n := strings.Count(lines.String(), "\n"); n != maxReasons {
		t.Errorf("%d lines of one target, want %d", n, maxReasons)
	}
	for i := range 3 * maxTargets {
		log.Failed(t.Context(), fmt.Sprint("http://a.test/", i), "gone", slog.Int("task", i))
	}
	if n := len(log.failing); n > maxTargets {
		t.Errorf("%d targets are remembered", n)
	}
}

func TestReason(t *testing.T) {
	plain := http.Header{"Content-Type": {"text/plain; charset=utf-8"}}
	for name, test := range map[string]struct {
		status int
		header http.Header
		body   string
		want   string
	}{
		"text":           {403, plain, "  who are you?\r\nmore", "who are you?"},
		"exactly 400":    {403, plain, strings.Repeat("x", 400), strings.Repeat("x", 400)},
		"longer":         {403, plain, strings.Repeat("x", 401), strings.Repeat("x", 400) + "…"},
		"within a rune":  {403, plain, "x" + strings.Repeat("€", 200), "x" + strings.Repeat("€", 133) + "…"},
		"before a rune":  {403, plain, "x" + strings.Repeat("é", 200), "x" + strings.Repeat("é", 199) + "…"},
		"not UTF-8":      {403, plain, "a\xffb", "ab"},
		"empty":          {500, plain, "\n", "Internal Server Error"},
		"unknown status": {599, nil, "", "the receiver does not say why"},
		"redirect":       {302, plain, "Found", "redirects are not followed"},
		"JSON":           {403, http.Header{"Content-Type": {"application/json"}}, `{"secret":1}`, "Forbidden"},
		"compressed":     {403, http.Header{"Content-Type": {"text/plain"}, "Content-Encoding": {"gzip"}}, "\x1f\x8b", "Forbidden"},
	} {
		if got := Reason(test.status, test.header, []byte(test.body)); got != test.want || !utf8.ValidString(got) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestUnanswered(t *testing.T) {
	reset := errors.New("connection reset by peer")
	at := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 54321}
	to := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80}
	for want, err := range map[string]error{
		"read: connection reset by peer":                  &url.Error{Op: "Post", URL: "http://a/?token=secret", Err: &net.OpError{Op: "read", Net: "tcp", Source: at, Addr: to, Err: reset}},
		"dial tcp 127.0.0.1:80: connection reset by peer": &url.Error{Op: "Post", URL: "http://a/?token=secret", Err: &net.OpError{Op: "dial", Net: "tcp", Addr: to, Err: reset}},
		"connection reset by peer":                        reset,
	} {
		got := Unanswered(err)
		if got.Error() != want || !errors.Is(got, reset) {
			t.Errorf("%v, want %s", got, want)
		}
	}
}

func TestTarget(t *testing.T) {
	for url, want := range map[string]string{
		"http://a.test":                  "http://a.test",
		"http://a.test?b":                "http://a.test",
		"https://u:p@a.test:1/b/@c?d#e":  "https://a.test:1/b/@c",
		"https://u:p@a.test":             "https://a.test",
		"https://a.test/#e":              "https://a.test/",
		"http://user:p@ss@a.test/secret": "http://a.test/secret",
	} {
		if got := Target(url); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}
