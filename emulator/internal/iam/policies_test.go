package iam

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"cloud.google.com/go/iam/apiv1/iampb"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/type/expr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
)

const topic = "projects/p/topics/t"

func binding(role string, members ...string) *iampb.Policy {
	return &iampb.Policy{Bindings: []*iampb.Binding{{Role: role, Members: members}}}
}

func TestSetAndGet(t *testing.T) {
	var p Policies
	before := p.Get(topic)
	if len(before.Etag) == 0 || len(before.Bindings) != 0 {
		t.Fatalf("the policy of a resource without one is %v", before)
	}
	policy := binding("roles/pubsub.publisher", "user:a@example.com")
	policy.Etag = before.Etag
	set, err := p.Set(topic, policy)
	if err != nil {
		t.Fatal(err)
	}
	if set.Version != 1 || string(set.Etag) == string(before.Etag) {
		t.Errorf("version %d and etag %x after a change from %x", set.Version, set.Etag, before.Etag)
	}
	if diff := cmp.Diff(policy.Bindings, set.Bindings, protocmp.Transform()); diff != "" {
		t.Errorf("bindings (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(set, p.Get(topic), protocmp.Transform()); diff != "" {
		t.Errorf("Get after Set (-set +got):\n%s", diff)
	}
	if other := p.Get("projects/p/topics/other"); len(other.Bindings) != 0 {
		t.Errorf("another resource has %v", other)
	}
	p.Delete(topic)
	if diff := cmp.Diff(before, p.Get(topic), protocmp.Transform()); diff != "" {
		t.Errorf("after Delete (-want +got):\n%s", diff)
	}
}

func TestNothingIsShared(t *testing.T) {
	var p Policies
	policy := binding("roles/pubsub.publisher", "allUsers")
	set, err := p.Set(topic, policy)
	if err != nil {
		t.Fatal(err)
	}
	policy.Bindings[0].Role = "roles/changed"
	set.Bindings[0].Role = "roles/changed"
	p.Get(topic).Bindings[0].Role = "roles/changed"
	p.Get("projects/p/topics/none").Etag[0]++
	if got := p.Get(topic).Bindings[0].Role; got != "roles/pubsub.publisher" {
		t.Errorf("role %s: the stored policy was changed from outside", got)
	}
	if a, b := p.Get("projects/p/topics/none").Etag, (&Policies{}).Get(topic).Etag; string(a) != string(b) {
		t.Errorf("etag %x, want %x", a, b)
	}
}

func TestStaleEtagIsRefused(t *testing.T) {
	var p Policies
	stale := p.Get(topic)
	if _, err := p.Set(topic, binding("roles/pubsub.viewer", "allUsers")); err != nil { // without an etag: overwrites
		t.Fatal(err)
	}
	if _, err := p.Set(topic, stale); status.Code(err) != codes.Aborted {
		t.Errorf("a stale etag: %v, want ABORTED", err)
	}
	p.Delete(topic)
	if _, err := p.Set(topic, p.Get(topic)); err != nil {
		t.Errorf("the current etag: %v", err)
	}
	p.Clear()
	if _, err := p.Set(topic, stale); err != nil {
		t.Errorf("the etag of a resource without a policy, after Clear: %v", err)
	}
}

func TestUpdateByMask(t *testing.T) {
	var p Policies
	first := binding("roles/pubsub.viewer", "allUsers")
	first.AuditConfigs = []*iampb.AuditConfig{{Service: "allServices"}}
	if _, err := p.Set(topic, first); err != nil {
		t.Fatal(err)
	}
	got, err := p.Update(topic, binding("roles/pubsub.publisher", "allUsers"), []string{"bindings"})
	if err != nil {
		t.Fatal(err)
	}
	if got.Bindings[0].Role != "roles/pubsub.publisher" || len(got.AuditConfigs) != 1 {
		t.Errorf("after a change of the bindings alone: %v", got)
	}
	if got, err = p.Update(topic, &iampb.Policy{Etag: got.Etag, Version: 3}, []string{"audit_configs", "etag", "version"}); err != nil || len(got.AuditConfigs) != 0 || got.Version != 3 || len(got.Bindings) != 1 {
		t.Errorf("after a change of all but the bindings: %v, %v", got, err)
	}
	if _, err := p.Update(topic, &iampb.Policy{}, []string{"owner"}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("an unknown path: %v", err)
	}
	if got, err = p.Update(topic, &iampb.Policy{}, nil); err != nil || len(got.Bindings) != 0 {
		t.Errorf("without a mask: %v, %v", got, err)
	}
}

func TestForms(t *testing.T) {
	many := make([]string, maxMembers+1)
	for i := range many {
		many[i] = fmt.Sprintf("user:u%d@example.com", i)
	}
	conditional := binding("roles/x", "allUsers")
	conditional.Bindings[0].Condition = &expr.Expr{Expression: "true"}
	conditional3 := binding("roles/x", "allUsers")
	conditional3.Bindings[0].Condition = &expr.Expr{Expression: "true"}
	conditional3.Version = 3

	for name, test := range map[string]struct {
		policy *iampb.Policy
		ok     bool
	}{
		"nil":               {nil, false},
		"empty":             {&iampb.Policy{}, true},
		"version 2":         {&iampb.Policy{Version: 2}, false},
		"condition":         {conditional, false},
		"condition of v3":   {conditional3, true},
		"custom role":       {binding("projects/p/roles/x", "allUsers"), true},
		"organization role": {binding("organizations/1/roles/x", "allUsers"), true},
		"role":              {binding("publisher", "allUsers"), false},
		"role no name":      {binding("roles/", "allUsers"), false},
		"role no project":   {binding("projects//roles/x", "allUsers"), false},
		"members":           {binding("roles/x", "allAuthenticatedUsers", "user:a@b.c", "serviceAccount:a@b.c", "group:a@b.c", "domain:b.c"), true},
		"deleted":           {binding("roles/x", "deleted:user:a@b.c?uid=1"), true},
		"deleted no uid":    {binding("roles/x", "deleted:user:a@b.c"), false},
		"principal":         {binding("roles/x", "principal://iam.googleapis.com/x"), true},
		"workload":          {binding("roles/x", "serviceAccount:p.svc.id.goog[ns/sa]"), true},
		"project owners":    {binding("roles/x", "projectOwner:p"), true},
		"no kind":           {binding("roles/x", "a@b.c"), false},
		"unknown kind":      {binding("roles/x", "robot:a@b.c"), false},
		"no email":          {binding("roles/x", "user:a"), false},
		"two at":            {binding("roles/x", "user:a@b@c"), false},
		"space":             {binding("roles/x", "user:a @b.c"), false},
		"no name":           {binding("roles/x", "user:"), false},
		"email as a domain": {binding("roles/x", "domain:a@b.c"), false},
		"1501 members":      {binding("roles/x", many...), false},
		"1500 members":      {binding("roles/x", many[1:]...), true},
	} {
		t.Run(name, func(t *testing.T) {
			var p Policies
			_, err := p.Set(topic, test.policy)
			if want := codes.InvalidArgument; test.ok && err != nil || !test.ok && status.Code(err) != want {
				t.Errorf("err %v, want ok %v", err, test.ok)
			}
		})
	}
}

func TestPermissions(t *testing.T) {
	for permission, ok := range map[string]bool{
		"pubsub.topics.publish":   true,
		"pubsub.topics.*":         false,
		"pubsub.topics":           false,
		"pubsub..publish":         false,
		"cloudtasks.tasks.create": false,
	} {
		if err := CheckPermissions("pubsub", []string{permission}); (err == nil) != ok {
			t.Errorf("%s: %v, want ok %v", permission, err, ok)
		}
	}
}

// Of many who read, change and write back, none may undo the change of another.
func TestConcurrentChanges(t *testing.T) {
	var p Policies
	var refused atomic.Int64
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			for {
				policy := p.Get(topic)
				policy.Bindings = append(policy.Bindings, &iampb.Binding{Role: fmt.Sprintf("roles/r%d", i), Members: []string{"allUsers"}})
				if _, err := p.Set(topic, policy); err == nil {
					return
				}
				refused.Add(1)
			}
		})
	}
	all.Wait()
	if n := len(p.Get(topic).Bindings); n != 50 {
		t.Errorf("%d bindings after 50 changes (%d refused)", n, refused.Load())
	}
}

func FuzzMember(f *testing.F) {
	for _, s := range []string{"allUsers", "user:a@b.c", "deleted:group:a@b.c?uid=1", "domain:", "::", "deleted:"} {
		f.Add(s)
	}
	f.Fuzz(func(_ *testing.T, member string) { _ = validMember(member) })
}
