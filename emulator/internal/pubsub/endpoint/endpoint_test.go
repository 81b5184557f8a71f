package endpoint

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// post sends one push to a server that answers so, and returns what was logged and the error.
func post(t *testing.T, answer http.HandlerFunc) (log string, err error) {
	t.Helper()
	server := httptest.NewServer(answer)
	defer server.Close()
	var lines strings.Builder
	client := Client(nil, 1)
	defer client.CloseIdleConnections()
	e := New(Config{
		Subscription: "projects/p/subscriptions/s",
		Push:         &pubsubpb.PushConfig{PushEndpoint: server.URL + "/push?token=secret"},
		Client:       client,
		Logger:       slog.New(slog.NewTextHandler(&lines, nil)),
	})
	err = e.Post(t.Context(), "17", http.Header{"Authorization": {"Bearer stolen"}}, []byte("payload"))
	return strings.ReplaceAll(lines.String(), server.URL, "SERVER"), err
}

func TestAnswers(t *testing.T) {
	long := strings.Repeat("x", 300)
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   string // "" if it acknowledges
	}{
		"204": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, ""},
		"102, then an error": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusProcessing)
			w.WriteHeader(http.StatusInternalServerError)
		}, ""},
		"103, then an error": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusInternalServerError)
		}, "the receiver answered 500: Internal Server Error"},
		"203": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNonAuthoritativeInfo) }, "the receiver answered 203: Non-Authoritative Information"},
		"redirect": {
			func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) },
			"the receiver answered 302: redirects are not followed",
		},
		"text": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "who are you?\nmore", http.StatusForbidden)
		}, "the receiver answered 403: who are you?"},
		"long text": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, long, http.StatusForbidden) }, "the receiver answered 403: " + long},
		"other": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `{"secret":1}`)
		}, "the receiver answered 403: Forbidden"},
		"no identity": {func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("Authorization"); got != "" {
				t.Errorf("Authorization: %s", got)
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			log, err := post(t, test.answer)
			switch {
			case test.want == "" && (err != nil || log != ""):
				t.Errorf("%v, logged %s", err, log)
			case test.want != "" && (err == nil || err.Error() != test.want):
				t.Errorf("got  %v\nwant %s", err, test.want)
			case test.want != "" && (!strings.Contains(log, `msg="delivery refused" target=SERVER/push `) || !strings.Contains(log, "subscription=projects/p/subscriptions/s message_id=17") || strings.Contains(log, "secret") || strings.Contains(log, "payload")):
				t.Errorf("logged %s", log)
			}
		})
	}
}

func TestGivenUpIsNotLogged(t *testing.T) {
	var lines strings.Builder
	e := New(Config{
		Push:   &pubsubpb.PushConfig{PushEndpoint: "http://127.0.0.1:1/"},
		Client: Client(nil, 1),
		Logger: slog.New(slog.NewTextHandler(&lines, nil)),
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Post(ctx, "17", http.Header{}, nil); err == nil || lines.Len() > 0 {
		t.Errorf("%v, logged %s", err, lines.String())
	}
}
