package sync_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"waybill.dev/internal/authtest"
	wsync "waybill.dev/sync"
)

type fixedToken string

func (t fixedToken) Token(context.Context, string) (string, error) { return string(t), nil }

// BenchmarkCall compares a call, verified by a warm cache, with bare net/http on
// both sides that sends the same bytes and token.
func BenchmarkCall(b *testing.B) {
	query, reply := strings.Repeat("q", 512), []byte(strings.Repeat("r", 1024))
	issuer := authtest.New(b)
	token := issuer.Token(caller, audience)
	b.Run("waybill", func(b *testing.B) {
		handler, err := wsync.NewHandler(wsync.HandlerConfig{Verifier: issuer.Verifier(b, audience, caller)},
			func(context.Context, *wsync.Request) (*wsync.Response, error) {
				return &wsync.Response{Body: reply}, nil
			})
		if err != nil {
			b.Fatal(err)
		}
		s := httptest.NewServer(handler)
		defer s.Close()
		client, _ := newClient(b, s.URL, func(c *wsync.ClientConfig) { c.Tokens = fixedToken(token) })
		exchange(b, s.URL, query, client.Do)
	})
	b.Run("bare", func(b *testing.B) {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.ReadAll(r.Body); err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			_, _ = w.Write(reply)
		}))
		defer s.Close()
		client := s.Client()
		exchange(b, s.URL, query, func(r *http.Request) (*http.Response, error) {
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("X-Serverless-Authorization", "Bearer "+token)
			return client.Do(r)
		})
	})
}

func exchange(b *testing.B, url, query string, do func(*http.Request) (*http.Response, error)) {
	b.ReportAllocs()
	for b.Loop() {
		resp, err := do(request(b.Context(), b, http.MethodPost, url, query))
		if err != nil {
			b.Fatal(err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			b.Fatal(resp.Status, err)
		}
	}
}
