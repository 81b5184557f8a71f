package cloudtasks

import (
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

const account = "login@shop.iam.gserviceaccount.com"

func override(change func(*cloudtaskspb.UriOverride)) *cloudtaskspb.UriOverride {
	o := &cloudtaskspb.UriOverride{}
	change(o)
	return o
}

func TestURIOverride(t *testing.T) {
	const raw = "http://mailer.test:8101/send?a=1"
	all := func(o *cloudtaskspb.UriOverride) {
		o.Scheme = cloudtaskspb.UriOverride_HTTPS.Enum()
		o.Host = new("orders.test")
		o.Port = new(int64(443))
		o.PathOverride = &cloudtaskspb.PathOverride{Path: "/v2/all"}
		o.QueryOverride = &cloudtaskspb.QueryOverride{QueryParams: "b=2"}
	}
	for _, c := range []struct {
		name, raw string
		override  func(*cloudtaskspb.UriOverride)
		want      string
	}{
		{"nothing", raw, func(*cloudtaskspb.UriOverride) {}, raw},
		{"scheme", raw, func(o *cloudtaskspb.UriOverride) { o.Scheme = cloudtaskspb.UriOverride_HTTPS.Enum() }, "https://mailer.test:8101/send?a=1"},
		{"scheme to HTTP", "https://mailer.test/", func(o *cloudtaskspb.UriOverride) { o.Scheme = cloudtaskspb.UriOverride_HTTP.Enum() }, "http://mailer.test/"},
		{"scheme unspecified is HTTPS", raw, func(o *cloudtaskspb.UriOverride) { o.Scheme = cloudtaskspb.UriOverride_SCHEME_UNSPECIFIED.Enum() }, "https://mailer.test:8101/send?a=1"},
		{"host keeps the port", raw, func(o *cloudtaskspb.UriOverride) { o.Host = new("orders.test") }, "http://orders.test:8101/send?a=1"},
		{"IPv6 host", raw, func(o *cloudtaskspb.UriOverride) { o.Host = new("::1") }, "http://[::1]:8101/send?a=1"},
		{"port", raw, func(o *cloudtaskspb.UriOverride) { o.Port = new(int64(123)) }, "http://mailer.test:123/send?a=1"},
		{"port zero clears", raw, func(o *cloudtaskspb.UriOverride) { o.Port = new(int64(0)) }, "http://mailer.test/send?a=1"},
		{"port of IPv6", "http://[::1]/x", func(o *cloudtaskspb.UriOverride) { o.Port = new(int64(123)) }, "http://[::1]:123/x"},
		{"path", raw, func(o *cloudtaskspb.UriOverride) {
			o.PathOverride = &cloudtaskspb.PathOverride{Path: "users/a b/%2F?"}
		}, "http://mailer.test:8101/users/a%20b/%2F%3F?a=1"},
		{"empty path clears", raw, func(o *cloudtaskspb.UriOverride) { o.PathOverride = &cloudtaskspb.PathOverride{} }, "http://mailer.test:8101?a=1"},
		{"query", raw, func(o *cloudtaskspb.UriOverride) {
			o.QueryOverride = &cloudtaskspb.QueryOverride{QueryParams: "q=ä#&r=%zz"}
		}, "http://mailer.test:8101/send?q=%C3%A4%23&r=%25zz"},
		{"empty query clears", raw, func(o *cloudtaskspb.UriOverride) { o.QueryOverride = &cloudtaskspb.QueryOverride{} }, "http://mailer.test:8101/send"},
		{"everything", raw, all, "https://orders.test:443/v2/all?b=2"},
		{"everything, where it is missing", raw, func(o *cloudtaskspb.UriOverride) {
			all(o)
			o.UriOverrideEnforceMode = cloudtaskspb.UriOverride_IF_NOT_EXISTS
		}, raw},
		{"only what is missing", "http://mailer.test/", func(o *cloudtaskspb.UriOverride) {
			all(o)
			o.UriOverrideEnforceMode = cloudtaskspb.UriOverride_IF_NOT_EXISTS
		}, "http://mailer.test:443/v2/all?b=2"},
		{"a mode that says always", raw, func(o *cloudtaskspb.UriOverride) {
			o.Host = new("orders.test")
			o.UriOverrideEnforceMode = cloudtaskspb.UriOverride_ALWAYS
		}, "http://orders.test:8101/send?a=1"},
		{"of a URL with a bad escape", "http://mailer.test/%zz", func(o *cloudtaskspb.UriOverride) { o.Port = new(int64(1)) }, "http://mailer.test:1/%25zz"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := override(c.override)
			if err := checkOverride(o); err != nil {
				t.Fatal(err)
			}
			if got, err := overrideURL(c.raw, o); err != nil || got != c.want {
				t.Errorf("%s, %v, want %s", got, err, c.want)
			}
		})
	}
}

func TestEncodedURL(t *testing.T) {
	for raw, want := range map[string]string{
		"http://a":                 "http://a",
		"http://a/b c":             "http://a/b%20c",
		"http://a/%zz%":            "http://a/%25zz%25",
		"http://a/%41%e4":          "http://a/%41%e4",
		"http://a?q=ä&r=\"<>":      "http://a?q=%C3%A4&r=%22%3C%3E",
		"http://bücher.test/x\x00": "http://bücher.test/x%00",
	} {
		if got := encodeURL(raw); got != want {
			t.Errorf("%q: %q, want %q", raw, got, want)
		}
	}
}

func TestHTTPTargetChangesTasksThatWaitAlready(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		b.create(named("early"), b.in(time.Minute), request(func(r *cloudtaskspb.HttpRequest) {
			r.Headers = map[string]string{"authorization": "Basic mine", "X-Kept": "1", "x-changed": "task"}
		}))
		_, err := b.UpdateQueue(b.ctx, &cloudtaskspb.UpdateQueueRequest{
			Queue: &cloudtaskspb.Queue{Name: queueA, HttpTarget: &cloudtaskspb.HttpTarget{
				UriOverride: override(func(o *cloudtaskspb.UriOverride) { o.Host = new("orders.test") }),
				HttpMethod:  cloudtaskspb.HttpMethod_PUT,
				HeaderOverrides: []*cloudtaskspb.HttpTarget_HeaderOverride{
					{Header: &cloudtaskspb.HttpTarget_Header{Key: "X-Changed", Value: "queue"}},
					{Header: &cloudtaskspb.HttpTarget_Header{Key: "X-CloudTasks-TaskName", Value: "mine"}},
				},
				AuthorizationHeader: &cloudtaskspb.HttpTarget_OidcToken{OidcToken: &cloudtaskspb.OidcToken{ServiceAccountEmail: account, Audience: "https://orders.test"}},
			}},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"http_target"}},
		})
		b.must(err)
		b.after(2 * time.Minute)
		got := b.got()
		if len(got) != 1 {
			t.Fatalf("%d deliveries", len(got))
		}
		d := got[0]
		if d.url != "http://orders.test/send" || d.method != "PUT" || d.body != "hello" {
			t.Errorf("%s %s %q", d.method, d.url, d.body)
		}
		for name, want := range map[string]string{
			"Authorization": "Bearer id-token(" + account + ",https://orders.test)",
			"X-Kept":        "1", "X-Changed": "queue",
		} {
			if got := strings.Join(d.header.Values(name), "|"); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if name := d.header["X-CloudTasks-TaskName"]; !cmp.Equal(name, []string{"early"}) || d.header.Get("X-Cloudtasks-Taskname") != "" {
			t.Errorf("the override of a reserved header went through: %v", d.header)
		}
	})
}

// The body of a task is not sent with a method that cannot have one, and not lost either.
func TestHTTPTargetWithGETLeavesTheBodyOut(t *testing.T) {
	inBubble(t, answers(500, 200), func(b *bench) {
		b.queue(nil, nil)
		set := func(target *cloudtaskspb.HttpTarget) {
			_, err := b.UpdateQueue(b.ctx, &cloudtaskspb.UpdateQueueRequest{
				Queue:      &cloudtaskspb.Queue{Name: queueA, HttpTarget: target},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"httpTarget.httpMethod", "httpTarget.oauthToken"}},
			})
			b.must(err)
		}
		set(&cloudtaskspb.HttpTarget{
			HttpMethod:          cloudtaskspb.HttpMethod_GET,
			AuthorizationHeader: &cloudtaskspb.HttpTarget_OauthToken{OauthToken: &cloudtaskspb.OAuthToken{ServiceAccountEmail: account, Scope: "https://www.googleapis.com/auth/pubsub"}},
		})
		b.create()
		b.after(0)
		set(nil)
		b.after(time.Minute)
		var got []string
		for _, d := range b.got() {
			got = append(got, d.method+" "+d.body+" "+d.header.Get("Authorization"))
		}
		if diff := cmp.Diff([]string{"GET  Bearer access(" + account + ")", "POST hello "}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// The token of a task is for the URL that it goes to in the end.
func TestAudienceFollowsTheOverride(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		_, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{
			Name:       queueA,
			HttpTarget: &cloudtaskspb.HttpTarget{UriOverride: override(func(o *cloudtaskspb.UriOverride) { o.Host = new("orders.test") })},
		}})
		b.must(err)
		b.create(request(func(r *cloudtaskspb.HttpRequest) {
			r.AuthorizationHeader = &cloudtaskspb.HttpRequest_OidcToken{OidcToken: &cloudtaskspb.OidcToken{ServiceAccountEmail: account}}
		}))
		b.after(0)
		if got := b.got()[0].header.Get("Authorization"); got != "Bearer id-token("+account+",http://orders.test/send)" {
			t.Error(got)
		}
	})
}

// gcloud's masks, and its way to clear.
func TestMasksIntoHTTPTarget(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		b.queue(nil, nil)
		update := func(target *cloudtaskspb.HttpTarget, paths ...string) *cloudtaskspb.HttpTarget {
			t.Helper()
			q, err := b.UpdateQueue(b.ctx, &cloudtaskspb.UpdateQueueRequest{
				Queue:      &cloudtaskspb.Queue{Name: queueA, HttpTarget: target},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: paths},
			})
			b.must(err)
			return q.GetHttpTarget()
		}
		check := func(what string, got, want *cloudtaskspb.HttpTarget) {
			t.Helper()
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("%s (-want +got):\n%s", what, diff)
			}
		}
		oidc := &cloudtaskspb.HttpTarget{AuthorizationHeader: &cloudtaskspb.HttpTarget_OidcToken{OidcToken: &cloudtaskspb.OidcToken{ServiceAccountEmail: account, Audience: "a"}}}
		oauth := &cloudtaskspb.HttpTarget{AuthorizationHeader: &cloudtaskspb.HttpTarget_OauthToken{OauthToken: &cloudtaskspb.OAuthToken{ServiceAccountEmail: account, Scope: "s"}}}
		oidcPaths := []string{"httpTarget.oidcToken.serviceAccountEmail", "httpTarget.oidcToken.audience"}
		oauthPaths := []string{"httpTarget.oauthToken.serviceAccountEmail", "httpTarget.oauthToken.scope"}

		check("a token by its leaves", update(oidc, oidcPaths...), oidc)
		check("clearing the other token changes nothing", update(nil, oauthPaths...), oidc)
		check("the other token replaces it", update(oauth, oauthPaths...), oauth)
		check("clearing takes it away", update(nil, oauthPaths...), nil)
		uri := &cloudtaskspb.HttpTarget{UriOverride: override(func(o *cloudtaskspb.UriOverride) { o.Host, o.Port = new("a.test"), new(int64(0)) })}
		check("a port of zero is kept", update(uri, "http_target.uri_override"), uri)
		only := proto.CloneOf(uri)
		only.UriOverride.Port = nil
		check("a leaf is cleared", update(&cloudtaskspb.HttpTarget{}, "http_target.uri_override.port"), only)
		check("without a mask it goes", update(nil), nil)
	})
}

func TestHTTPTargetErrors(t *testing.T) {
	inBubble(t, nil, func(b *bench) {
		create := func(target *cloudtaskspb.HttpTarget) error {
			_, err := b.CreateQueue(b.ctx, &cloudtaskspb.CreateQueueRequest{Parent: location, Queue: &cloudtaskspb.Queue{Name: queueA, HttpTarget: target}})
			return err
		}
		uri := func(change func(*cloudtaskspb.UriOverride)) error {
			return create(&cloudtaskspb.HttpTarget{UriOverride: override(change)})
		}
		header := func(h *cloudtaskspb.HttpTarget_Header) error {
			return create(&cloudtaskspb.HttpTarget{HeaderOverrides: []*cloudtaskspb.HttpTarget_HeaderOverride{{Header: h}}})
		}
		oidc := func(email, audience string) error {
			return create(&cloudtaskspb.HttpTarget{AuthorizationHeader: &cloudtaskspb.HttpTarget_OidcToken{OidcToken: &cloudtaskspb.OidcToken{ServiceAccountEmail: email, Audience: audience}}})
		}
		oauth := func(email, scope string) error {
			return create(&cloudtaskspb.HttpTarget{AuthorizationHeader: &cloudtaskspb.HttpTarget_OauthToken{OauthToken: &cloudtaskspb.OAuthToken{ServiceAccountEmail: email, Scope: scope}}})
		}
		for _, c := range []struct {
			name           string
			err            error
			field, message string
		}{
			{"scheme", uri(func(o *cloudtaskspb.UriOverride) { o.Scheme = cloudtaskspb.UriOverride_Scheme(9).Enum() }), "uri_override.scheme", "Queue.httpTarget.uriOverride.scheme 9"},
			{"mode", uri(func(o *cloudtaskspb.UriOverride) { o.UriOverrideEnforceMode = 9 }), "uri_override.uri_override_enforce_mode", "Queue.httpTarget.uriOverride.uriOverrideEnforceMode 9"},
			{"empty host", uri(func(o *cloudtaskspb.UriOverride) { o.Host = new("") }), "uri_override.host", "Queue.httpTarget.uriOverride.host"},
			{"host with a port", uri(func(o *cloudtaskspb.UriOverride) { o.Host = new("a.test:80") }), "uri_override.host", "Queue.httpTarget.uriOverride.host"},
			{"host with a path", uri(func(o *cloudtaskspb.UriOverride) { o.Host = new("a.test/x") }), "uri_override.host", "Queue.httpTarget.uriOverride.host"},
			{"negative port", uri(func(o *cloudtaskspb.UriOverride) { o.Port = new(int64(-1)) }), "uri_override.port", "Queue.httpTarget.uriOverride.port"},
			{"long path", uri(func(o *cloudtaskspb.UriOverride) {
				o.PathOverride = &cloudtaskspb.PathOverride{Path: strings.Repeat("/", 2084)}
			}), "uri_override.path_override.path", "Queue.httpTarget.uriOverride.pathOverride.path"},
			{"long query", uri(func(o *cloudtaskspb.UriOverride) {
				o.QueryOverride = &cloudtaskspb.QueryOverride{QueryParams: strings.Repeat("q", 2084)}
			}), "uri_override.query_override.query_params", "Queue.httpTarget.uriOverride.queryOverride.queryParams"},
			{"method", create(&cloudtaskspb.HttpTarget{HttpMethod: 99}), "http_method", "Queue.httpTarget.httpMethod 99"},
			{"no header", header(nil), "header_overrides", "Queue.httpTarget.headerOverrides has a key"},
			{"header's key", header(&cloudtaskspb.HttpTarget_Header{Key: "a b"}), "header_overrides", "Queue.httpTarget.headerOverrides has a key"},
			{"header's value", header(&cloudtaskspb.HttpTarget_Header{Key: "a", Value: "\n"}), "header_overrides", "Queue.httpTarget.headerOverrides has a key"},
			{"headers' size", header(&cloudtaskspb.HttpTarget_Header{Key: "a", Value: strings.Repeat("b", 80<<10)}), "header_overrides", "Queue.httpTarget.headerOverrides must have less than 80KB."},
			{"OIDC without an account", oidc("", "a"), "oidc_token.service_account_email", "service_account_email must be set."},
			{"OIDC without an audience", oidc(account, ""), "oidc_token.audience", "audience must be set."},
			{"OIDC account", oidc("login", "a"), "oidc_token.service_account_email", "The service account must be an email address"},
			{"OAuth without an account", oauth("", "s"), "oauth_token.service_account_email", "service_account_email must be set."},
			{"OAuth without a scope", oauth(account, ""), "oauth_token.scope", "scope must be set."},
		} {
			t.Run(c.name, func(t *testing.T) {
				wantError(t, c.err, codes.InvalidArgument, c.message)
				wantField(t, c.err, "queue.http_target."+c.field)
			})
		}
	})
}
