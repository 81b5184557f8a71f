package tasks_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	cloudtasks "cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"waybill.dev/internal/authtest"
	"waybill.dev/tasks"
)

// BenchmarkEnqueue compares Enqueue with Google's client that sends the same bytes to the same server.
func BenchmarkEnqueue(b *testing.B) {
	body := []byte(strings.Repeat("x", 1024))
	header := map[string]string{
		"Content-Type": "application/json", "ce-id": "0196", "ce-source": "/login", "ce-type": "welcome", "ce-specversion": "1.0",
	}
	b.Run("waybill", func(b *testing.B) {
		client := newFake(b).client(b, tasks.Config{})
		b.ReportAllocs()
		for b.Loop() {
			if _, err := client.Enqueue(b.Context(), tasks.Task{
				Queue: queue, URL: target, Audience: audience, Header: header, Body: body, Key: "k",
			}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		client, err := cloudtasks.NewClient(b.Context(), tasks.EmulatorOptions(newFake(b).addr)...)
		if err != nil {
			b.Fatal(err)
		}
		defer client.Close()
		name := taskName("k")
		b.ReportAllocs()
		for b.Loop() {
			if _, err := client.CreateTask(b.Context(), &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: &cloudtaskspb.Task{
				Name: name,
				MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{
					Url: target, HttpMethod: cloudtaskspb.HttpMethod_POST, Headers: header, Body: body,
					AuthorizationHeader: &cloudtaskspb.HttpRequest_OidcToken{OidcToken: &cloudtaskspb.OidcToken{
						ServiceAccountEmail: account, Audience: audience,
					}},
				}},
			}}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkHandler is a delivery without a socket, verified by a warm cache.
func BenchmarkHandler(b *testing.B) {
	issuer := authtest.New(b)
	handler, err := tasks.NewHandler(tasks.HandlerConfig{Verifier: issuer.Verifier(b, audience, account)},
		func(context.Context, *tasks.Delivery) error { return nil })
	if err != nil {
		b.Fatal(err)
	}
	bearer := "Bearer " + issuer.Token(account, audience)
	body := strings.Repeat("x", 1024)
	b.ReportAllocs()
	for b.Loop() {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Header.Set("Authorization", bearer)
		r.Header.Set("X-CloudTasks-TaskRetryCount", "0")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusNoContent {
			b.Fatal(w.Code)
		}
	}
}
