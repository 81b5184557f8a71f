package dead

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"waybill.dev/dispatch"
)

func FuzzRead(f *testing.F) {
	f.Add("ce-id", "1", "waybill-dead-route", "send-welcome", "waybill-replay", "2")
	f.Add("CloudPubSubDeadLetterSourceSubscription", "index-user", "CloudPubSubDeadLetterSourceDeliveryCount", "-5", "ce-time", "yesterday")
	f.Add("waybill-dead-attempts", "99999999999999999999", "waybill-dead-url", "http://[::1", "waybill-replay-to", "x")
	f.Fuzz(func(t *testing.T, n1, v1, n2, v2, n3, v3 string) {
		m := &pubsubpb.PubsubMessage{MessageId: "17", Attributes: map[string]string{n1: v1, n2: v2, n3: v3}}
		for _, kind := range []dispatch.Kind{dispatch.KindTask, dispatch.KindSubscription} {
			l := read(&route{kind: kind, name: "send-welcome"}, m)
			if l.ID == "" || l.Attempts < 0 || l.Replays < 0 {
				t.Errorf("%+v", l)
			}
			for name := range l.Headers {
				if strings.HasPrefix(name, "waybill-dead-") || strings.HasPrefix(name, "CloudPubSubDeadLetterSource") || strings.HasPrefix(name, "goog") {
					t.Errorf("a replay would carry %q", name)
				}
			}
		}
	})
}

// A dead letter can be written by whoever may publish to its topic. Its word must not carry a token anywhere.
func TestWhereATaskGoesIsNotTheLettersWord(t *testing.T) {
	labels := &route{kind: dispatch.KindTask, name: "send-welcome", to: "mailer", senders: map[string]string{"login": "login@p"}}
	cloud := &Client{env: &dispatch.Environment{Project: "p", Services: map[string]dispatch.ServiceEnvironment{"mailer": {URL: "https://mailer.example.com/base/"}}}}
	local := &Client{env: &dispatch.Environment{Project: "p", Emulator: "127.0.0.1:8085"}}
	for _, tt := range []struct {
		name               string
		c                  *Client
		told               string
		endpoint, audience string // empty: refused
	}{
		{"its own", cloud, "https://mailer.example.com/base/hooks/welcome", "https://mailer.example.com/base/hooks/welcome", "https://mailer.example.com"},
		{"another host", cloud, "https://evil.example.com/base/x", "https://mailer.example.com/base/x", "https://mailer.example.com"},
		{"a host that begins the same", cloud, "https://mailer.example.com.evil.example", "https://mailer.example.com/base/_waybill/tasks/send-welcome", "https://mailer.example.com"},
		{"a path that would be a host", cloud, "https://x/base@evil.example.com/", "https://mailer.example.com/base/_waybill/tasks/send-welcome", "https://mailer.example.com"},
		{"none", cloud, "", "https://mailer.example.com/base/_waybill/tasks/send-welcome", "https://mailer.example.com"},
		{"no URL at all", cloud, "http://[::1", "https://mailer.example.com/base/_waybill/tasks/send-welcome", "https://mailer.example.com"},
		{"on an emulator", local, "http://127.0.0.1:8101/_waybill/tasks/send-welcome", "http://127.0.0.1:8101/_waybill/tasks/send-welcome", "http://127.0.0.1:8101"},
		{"on an emulator, elsewhere", local, "https://evil.example.com/x", "", ""},
		{"an environment without the URL", &Client{env: &dispatch.Environment{Project: "p"}}, "http://127.0.0.1:8101/x", "", ""},
	} {
		endpoint, audience, err := tt.c.target(labels, &Letter{url: tt.told})
		if endpoint != tt.endpoint || audience != tt.audience || (err != nil) != (tt.endpoint == "") || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %s for %s, %v", tt.name, endpoint, audience, err)
		}
	}
	declared := &route{endpoint: "https://mailer.example.com/welcome", audience: "https://mailer.example.com"}
	if endpoint, _, err := cloud.target(declared, &Letter{url: "https://evil.example.com"}); endpoint != declared.endpoint || err != nil {
		t.Errorf("the contracts' endpoint became %s, %v", endpoint, err)
	}
	for _, l := range []Letter{{Caller: "billing@p", Source: "/shop/login"}, {Source: "/shop/billing"}, {}} {
		if account, err := labels.sender(&l); err == nil {
			t.Errorf("%+v is sent as %s", l, account)
		}
	}
	for _, l := range []Letter{{Caller: "login@p", Source: "/shop/billing"}, {Source: "/shop/login"}} {
		if account, err := labels.sender(&l); account != "login@p" {
			t.Errorf("%+v: %s, %v", l, account, err)
		}
	}
}

// The copies of one message are one letter, and the one that says most is shown.
func TestMerge(t *testing.T) {
	at := func(minute int) time.Time { return time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC) }
	letters := []Letter{
		{ID: "b", ByPlatform: true, Died: at(9)},
		{ID: "a", Died: at(5), Replays: 1, Cause: "again"},
		{ID: "b", Died: at(3), Cause: "why"},
		{ID: "a", Died: at(6), Cause: "first"},
	}
	var copies []*leased
	for _, l := range letters {
		copies = append(copies, &leased{letter: l})
	}
	var got []string
	for _, f := range merge(copies) {
		if f.letter.Copies != 2 || len(f.copies) != 2 {
			t.Errorf("%+v", f.letter)
		}
		got = append(got, f.letter.ID+" "+f.letter.Cause)
	}
	if strings.Join(got, ", ") != "b why, a again" {
		t.Errorf("merged to %v", got)
	}
	if c := (&found{copies: copies}).before(1); len(c) != 3 {
		t.Errorf("%d copies died before the first replay", len(c))
	}
}

func TestConfigIsChecked(t *testing.T) {
	app := dispatch.NewApp("shop")
	t.Setenv("PUBSUB_EMULATOR_HOST", "")
	for want, open := range map[string]func(context.Context) (*Client, error){
		"got no app": func(ctx context.Context) (*Client, error) { return Open(ctx, nil, Config{}) },
		"has no project": func(ctx context.Context) (*Client, error) {
			return Open(ctx, app, Config{Environment: &dispatch.Environment{}})
		},
		"only one of Cloud Tasks": func(ctx context.Context) (*Client, error) {
			return Open(ctx, app, Config{Environment: &dispatch.Environment{Project: "p", PubSubEmulator: "127.0.0.1:1"}})
		},
		"Config.Wait is -1s": func(ctx context.Context) (*Client, error) {
			return Open(ctx, app, Config{Wait: -time.Second, Environment: &dispatch.Environment{Project: "p"}})
		},
		"listing the subscriptions": func(ctx context.Context) (*Client, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return OpenDeployed(ctx, "shop", Config{Environment: &dispatch.Environment{Project: "p", Emulator: "127.0.0.1:1"}})
		},
	} {
		if c, err := open(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", want, c, err)
		}
	}
}
