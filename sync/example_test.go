package sync_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"waybill.dev/auth"
	"waybill.dev/internal/authtest"
	wsync "waybill.dev/sync"
)

func Example() {
	issuer := authtest.Start() // stands for Google
	defer issuer.Close()
	receiver, stop, err := profiles(issuer)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()

	client, err := wsync.NewClient(wsync.ClientConfig{
		URL:      receiver,
		Audience: "https://profiles.example.com",
		Tokens:   issuer.Source("login@shop.iam.gserviceaccount.com"), // on Google Cloud: auth.NewMinter
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	for _, user := range []string{"42", "43"} {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, receiver+"/get", strings.NewReader(user))
		if err != nil {
			fmt.Println(err)
			return
		}
		req.Header.Set("Ce-Id", "request-"+user)
		reply, err := read(client.Do(req))
		fmt.Printf("%q %v\n", reply, err)
		fmt.Println(errors.Is(err, &wsync.Error{Code: wsync.NotFound}))
	}
	// Output:
	// "Ada" <nil>
	// false
	// "" sync: not_found: no profile of 43 (id request-43)
	// true
}

func read(resp *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if err := wsync.ReadError(resp); err != nil {
		return "", err
	}
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// profiles is the receiver, which only login may call.
func profiles(issuer *authtest.Issuer) (url string, stop func(), err error) {
	keys, err := auth.NewKeySet(auth.KeySetConfig{URL: issuer.KeysURL()})
	if err != nil {
		return "", nil, err
	}
	verifier, err := auth.NewVerifier(auth.VerifierConfig{
		Audiences: []string{"https://profiles.example.com"},
		Callers:   []string{"login@shop.iam.gserviceaccount.com"},
		Keys:      keys,
	})
	if err != nil {
		return "", nil, err
	}
	handler, err := wsync.NewHandler(wsync.HandlerConfig{Verifier: verifier, Logger: slog.New(slog.DiscardHandler)},
		func(_ context.Context, r *wsync.Request) (*wsync.Response, error) {
			if string(r.Body) != "42" {
				return nil, wsync.Errorf(wsync.NotFound, "no profile of %s", r.Body)
			}
			return &wsync.Response{Body: []byte("Ada")}, nil
		})
	if err != nil {
		return "", nil, err
	}
	server := httptest.NewServer(handler)
	return server.URL, func() { server.Close(); _ = keys.Close() }, nil
}

// A target that fails is not hammered: the clients that share a budget have ten retries, and then one for each ten requests.
func ExampleRetryBudget() {
	overloaded := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not now", http.StatusTooManyRequests)
	}))
	defer overloaded.Close()
	issuer := authtest.Start()
	defer issuer.Close()
	var budget wsync.RetryBudget // of this target, for all its clients
	client, err := wsync.NewClient(wsync.ClientConfig{
		URL: overloaded.URL, Audience: "https://profiles.example.com", Tokens: issuer.Source("login@shop.iam.gserviceaccount.com"),
		MaxAttempts: 4, MinBackoff: time.Microsecond, MaxBackoff: time.Microsecond, RetryBudget: &budget,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	for range 100 {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, overloaded.URL, strings.NewReader("42"))
		if err != nil {
			fmt.Println(err)
			return
		}
		if _, err = read(client.Do(req)); errors.Is(err, wsync.ErrRetryBudget) {
			fmt.Println(err)
			return
		}
	}
	// Output:
	// sync: resource_exhausted: 429 Too Many Requests: not now (not repeated: the retries to this target are used up for now)
}
