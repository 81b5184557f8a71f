package dispatch_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	cloudtasks "cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	gpubsub "cloud.google.com/go/pubsub/v2"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waybill.dev/auth"
	"waybill.dev/dispatch"
	"waybill.dev/dispatch/deploy"
	"waybill.dev/emulator"
	"waybill.dev/pubsub"
	wsync "waybill.dev/sync"
	"waybill.dev/tasks"
)

// Each benchmark has two sides, impl=bare and impl=waybill, which put the same bytes, attributes and headers on the wire.
// `make bench` runs them in turn and compares the medians.

// benchShop is an app whose queue and topic have nobody to deliver to, so that only sending is measured.
type benchShop struct {
	app             *dispatch.App
	login, profiles *dispatch.Service
	task            *dispatch.Task[benchMessage]
	event           *dispatch.Event[benchMessage]
	call            *dispatch.Call[benchMessage, benchMessage]
	env             *dispatch.Environment
	emulator        *emulator.Emulator
	listener        net.Listener // of user-profiles
}

type benchMessage struct {
	UserID string   `json:"user_id"`
	Name   string   `json:"name"`
	Tags   []string `json:"tags"`
}

var benchValue = benchMessage{UserID: "user-000001", Name: "Ann Lee", Tags: []string{"new", "paying", "europe-west1"}}

func newBenchShop(b *testing.B) *benchShop {
	b.Helper()
	s := &benchShop{app: dispatch.NewApp("bench")}
	s.login, s.profiles = s.app.Service("login"), s.app.Service("user-profiles")
	s.task = dispatch.NewTask[benchMessage](s.profiles, "keep", dispatch.From(s.login))
	s.event = dispatch.NewEvent[benchMessage](s.login, "noticed")
	s.call = dispatch.NewCall[benchMessage, benchMessage](s.profiles, "echo", dispatch.From(s.login))
	quiet := slog.New(slog.DiscardHandler)
	var err error
	if s.emulator, err = emulator.Start(b.Context(), emulator.Config{Listen: "127.0.0.1:0", Logger: quiet}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.emulator.Close() })
	if s.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.listener.Close() })
	key, err := s.emulator.KeyFile(loginAccount)
	if err != nil {
		b.Fatal(err)
	}
	s.env = &dispatch.Environment{
		Project: "waybill-local", Location: "us-central1", Emulator: s.emulator.Addr(),
		Services: map[string]dispatch.ServiceEnvironment{
			"login":         {CredentialsJSON: key},
			"user-profiles": {URL: "http://" + s.listener.Addr().String()},
		},
	}
	plan, err := deploy.NewPlan(s.app, s.env)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := deploy.Create(b.Context(), plan, deploy.Options{}); err != nil {
		b.Fatal(err)
	}
	return s
}

func (s *benchShop) open(b *testing.B, service *dispatch.Service) *dispatch.Dispatcher {
	b.Helper()
	d, err := dispatch.Open(b.Context(), service, dispatch.Config{Environment: s.env, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { d.Close() })
	return d
}

// bareAttributes are those that Waybill sends, made as somebody without Waybill would.
func bareAttributes(route string) map[string]string {
	return map[string]string{
		"ce-id":          "019ab1f0-5b7c-7c3e-9d5a-0123456789ab",
		"ce-source":      "/bench/login",
		"ce-type":        "bench." + route,
		"ce-specversion": "1.0",
		"ce-time":        time.Now().UTC().Format(time.RFC3339Nano),
		"content-type":   "application/json",
		"traceparent":    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
	}
}

// farAhead keeps tasks in their queue, so that deliveries do not disturb the measurement.
const farAhead = 24 * time.Hour

func BenchmarkSendTask(b *testing.B) {
	b.Run("impl=bare", func(b *testing.B) {
		s := newBenchShop(b)
		client, err := cloudtasks.NewClient(b.Context(), tasks.EmulatorOptions(s.emulator.Addr())...)
		if err != nil {
			b.Fatal(err)
		}
		defer client.Close()
		url := s.env.Services["user-profiles"].URL
		b.ReportAllocs()
		for b.Loop() {
			body, err := json.Marshal(benchValue)
			if err != nil {
				b.Fatal(err)
			}
			_, err = client.CreateTask(b.Context(), &cloudtaskspb.CreateTaskRequest{
				Parent: "projects/waybill-local/locations/us-central1/queues/bench--keep",
				Task: &cloudtaskspb.Task{
					ScheduleTime:     timestamppb.New(time.Now().Add(farAhead)),
					DispatchDeadline: durationpb.New(35 * time.Second),
					MessageType: &cloudtaskspb.Task_HttpRequest{HttpRequest: &cloudtaskspb.HttpRequest{
						Url:        url + "/_waybill/tasks/keep",
						HttpMethod: cloudtaskspb.HttpMethod_POST,
						Headers:    bareAttributes("keep"),
						Body:       body,
						AuthorizationHeader: &cloudtaskspb.HttpRequest_OidcToken{OidcToken: &cloudtaskspb.OidcToken{
							ServiceAccountEmail: loginAccount, Audience: url,
						}},
					}},
				},
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("impl=waybill", func(b *testing.B) {
		s := newBenchShop(b)
		d := s.open(b, s.login)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := dispatch.Send(b.Context(), d, s.task, benchValue, dispatch.After(farAhead)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSendEvent(b *testing.B) {
	b.Run("impl=bare", func(b *testing.B) {
		s := newBenchShop(b)
		client, err := gpubsub.NewClient(b.Context(), "waybill-local", pubsub.EmulatorOptions(s.emulator.Addr())...)
		if err != nil {
			b.Fatal(err)
		}
		defer client.Close()
		publisher := client.Publisher("bench--noticed")
		publisher.EnableMessageOrdering = true
		publisher.PublishSettings.DelayThreshold = time.Millisecond // as waybill.dev/pubsub's
		defer publisher.Stop()
		b.ReportAllocs()
		for b.Loop() {
			body, err := json.Marshal(benchValue)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := publisher.Publish(b.Context(), &gpubsub.Message{Data: body, Attributes: bareAttributes("noticed")}).Get(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("impl=waybill", func(b *testing.B) {
		s := newBenchShop(b)
		d := s.open(b, s.login)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := dispatch.Send(b.Context(), d, s.event, benchValue); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRequest(b *testing.B) {
	b.Run("impl=bare", func(b *testing.B) {
		s := newBenchShop(b)
		token := benchToken(b, s, loginAccount)
		serve(b, s.listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var m benchMessage
			if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(m)
		}))
		transport := wsync.NewTransport()
		defer transport.CloseIdleConnections()
		client := &http.Client{Transport: transport}
		url := s.env.Services["user-profiles"].URL + "/_waybill/calls/echo"
		b.ReportAllocs()
		for b.Loop() {
			if err := bareRequest(b.Context(), client, url, token); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("impl=waybill", func(b *testing.B) {
		s := newBenchShop(b)
		profiles, login := s.open(b, s.profiles), s.open(b, s.login)
		dispatch.Answer(profiles, s.call, func(_ context.Context, m benchMessage) (benchMessage, error) { return m, nil })
		serve(b, s.listener, profiles)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := dispatch.Request(b.Context(), login, s.call, benchValue); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func bareRequest(ctx context.Context, client *http.Client, url, token string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	body, err := json.Marshal(benchValue)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for name, value := range bareAttributes("echo") {
		request.Header.Set(name, value)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("X-Serverless-Authorization", "Bearer "+token)
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", response.Status)
	}
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var reply benchMessage
	return json.Unmarshal(data, &reply)
}

func BenchmarkHandlePush(b *testing.B) {
	data, err := json.Marshal(benchValue)
	if err != nil {
		b.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{
		"message": map[string]any{
			"attributes": bareAttributes("noticed"), "data": data, "messageId": "12345678901234567", "message_id": "12345678901234567",
			"publishTime": "2026-11-24T10:00:00.123Z", "publish_time": "2026-11-24T10:00:00.123Z",
		},
		"subscription":    "projects/waybill-local/subscriptions/bench--notice",
		"deliveryAttempt": 1,
	})
	if err != nil {
		b.Fatal(err)
	}
	push := func(b *testing.B, h http.Handler, token string) {
		b.Helper()
		b.ReportAllocs()
		for b.Loop() {
			r := httptest.NewRequestWithContext(b.Context(), http.MethodPost, "/_waybill/events/notice", bytes.NewReader(body))
			r.Header.Set("Authorization", "Bearer "+token)
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != http.StatusNoContent {
				b.Fatalf("status %d: %s", w.Code, w.Body)
			}
		}
	}
	b.Run("impl=bare", func(b *testing.B) {
		push(b, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var envelope struct {
				Message struct {
					Attributes map[string]string `json:"attributes"`
					Data       string            `json:"data"`
					MessageID  string            `json:"messageId"`
				} `json:"message"`
			}
			raw, err := io.ReadAll(r.Body)
			if err == nil {
				err = json.Unmarshal(raw, &envelope)
			}
			var data []byte
			if err == nil {
				data, err = base64.StdEncoding.DecodeString(envelope.Message.Data)
			}
			var m benchMessage
			if err == nil {
				err = json.Unmarshal(data, &m)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		}), "a token that nobody looks at")
	})
	b.Run("impl=waybill", func(b *testing.B) {
		s := newBenchShop(b)
		notice := s.event.To(s.profiles, "notice")
		keep := func(context.Context, benchMessage) error { return nil }
		d := s.open(b, s.profiles)
		dispatch.Handle(d, notice, keep)
		push(b, d, benchToken(b, s, "bench-push@waybill-local.iam.gserviceaccount.com"))
	})
}

func benchToken(b *testing.B, s *benchShop, account string) string {
	b.Helper()
	key, err := s.emulator.KeyFile(account)
	if err != nil {
		b.Fatal(err)
	}
	minter, err := auth.NewMinter(auth.MinterConfig{CredentialsJSON: key})
	if err != nil {
		b.Fatal(err)
	}
	defer minter.Close()
	token, err := minter.Token(b.Context(), s.env.Services["user-profiles"].URL)
	if err != nil {
		b.Fatal(err)
	}
	return token
}

func serve(b *testing.B, l net.Listener, h http.Handler) {
	b.Helper()
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	b.Cleanup(func() {
		server.Close()
		<-done
	})
}
