package gate

import (
	"testing"

	"cloud.google.com/go/iam/apiv1/iampb"
	"google.golang.org/genproto/googleapis/type/expr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestWhoMayInvoke(t *testing.T) {
	for name, c := range map[string]struct {
		role, member string
		public, want bool
	}{
		"service account":       {invoker, "serviceAccount:login@shop.test", false, true},
		"in another case":       {invoker, "serviceAccount:Login@shop.test", false, true},
		"another account":       {invoker, "serviceAccount:mailer@shop.test", false, false},
		"a longer name":         {invoker, "serviceAccount:xlogin@shop.test", false, false},
		"user":                  {invoker, "user:login@shop.test", false, true},
		"domain":                {invoker, "domain:shop.test", false, true},
		"another domain":        {invoker, "domain:test", false, false},
		"group":                 {invoker, "group:login@shop.test", false, false},
		"deleted":               {invoker, "deleted:serviceAccount:login@shop.test?uid=1", false, false},
		"everybody":             {invoker, "allUsers", true, true},
		"everybody with a name": {invoker, "allAuthenticatedUsers", false, true},
		"admin":                 {admin, "serviceAccount:login@shop.test", false, true},
		"viewer":                {"roles/run.viewer", "serviceAccount:login@shop.test", false, false},
		"viewer for everybody":  {"roles/run.viewer", "allUsers", false, false},
	} {
		p, err := newPolicy(nil)
		if err != nil {
			t.Fatal(err)
		}
		wanted := &iampb.Policy{Bindings: []*iampb.Binding{
			{Role: "roles/run.viewer", Members: []string{"user:ann@shop.test"}},
			{Role: c.role, Members: []string{"user:ann@shop.test", c.member}},
		}}
		if _, err := p.set(wanted); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if p.public() != c.public || p.allows("login@shop.test") != c.want {
			t.Errorf("%s: public %v, allows %v", name, p.public(), p.allows("login@shop.test"))
		}
	}
}

func TestPoliciesThatAreRefused(t *testing.T) {
	binding := func(role string, members ...string) *iampb.Policy {
		return &iampb.Policy{Bindings: []*iampb.Binding{{Role: role, Members: members}}}
	}
	conditional := binding(invoker, "user:a@b")
	conditional.Bindings[0].Condition = &expr.Expr{Expression: "true"}
	for name, c := range map[string]struct {
		policy *iampb.Policy
		want   codes.Code
	}{
		"bare email":         {binding(invoker, "login@shop.test"), codes.InvalidArgument},
		"no email":           {binding(invoker, "serviceAccount:login"), codes.InvalidArgument},
		"everybody and more": {binding(invoker, "allUsers:x"), codes.InvalidArgument},
		"everybody misspelt": {binding(invoker, "allusers"), codes.InvalidArgument},
		"empty":              {binding(invoker, ""), codes.InvalidArgument},
		"no role":            {binding("", "allUsers"), codes.InvalidArgument},
		"permission":         {binding("run.routes.invoke", "allUsers"), codes.InvalidArgument},
		"condition":          {conditional, codes.Unimplemented},
		"old etag":           {&iampb.Policy{Etag: []byte("old")}, codes.Aborted},
	} {
		p, err := newPolicy([]string{"user:ann@shop.test"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.set(c.policy); status.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if !p.allows("ann@shop.test") || p.public() {
			t.Errorf("%s: the policy before it is gone", name)
		}
	}
}

func TestAnEtagIsGoodOnce(t *testing.T) {
	p, err := newPolicy(nil)
	if err != nil {
		t.Fatal(err)
	}
	read := p.get()
	first, err := p.set(read)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.set(read); status.Code(err) != codes.Aborted {
		t.Errorf("an etag was good twice: %v", err)
	}
	if _, err := p.set(first); err != nil {
		t.Errorf("the etag of an answer: %v", err)
	}
}
