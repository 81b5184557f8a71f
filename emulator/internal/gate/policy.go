package gate

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"sync"

	"cloud.google.com/go/iam/apiv1/iampb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	invoker   = "roles/run.invoker"
	admin     = "roles/run.admin"
	allUsers  = "allUsers"
	anyCaller = "allAuthenticatedUsers"
)

// policy is a service's IAM policy.
type policy struct {
	mu      sync.RWMutex
	version uint64 // counts the changes: the policy's etag
	kept    *iampb.Policy
}

func newPolicy(members []string) (*policy, error) {
	p := &policy{kept: &iampb.Policy{}}
	return p, p.setInvokers(members)
}

func (p *policy) setInvokers(members []string) error {
	wanted := &iampb.Policy{}
	if len(members) > 0 {
		wanted.Bindings = []*iampb.Binding{{Role: invoker, Members: members}}
	}
	if _, err := p.set(wanted); err != nil {
		return fmt.Errorf("emulator: %s", status.Convert(err).Message())
	}
	return nil
}

// set replaces the policy. Its error is a gRPC status.
func (p *policy) set(wanted *iampb.Policy) (*iampb.Policy, error) {
	if err := checkPolicy(wanted); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if etag := wanted.GetEtag(); len(etag) > 0 && !bytes.Equal(etag, p.etag()) {
		return nil, status.Error(codes.Aborted, "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.")
	}
	p.version++
	p.kept = proto.CloneOf(wanted)
	p.kept.Etag = p.etag()
	return proto.CloneOf(p.kept), nil
}

func (p *policy) get() *iampb.Policy {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return proto.CloneOf(p.kept)
}

func (p *policy) etag() []byte { return binary.BigEndian.AppendUint64(nil, p.version) }

// public tells whether everybody may invoke the service, also without a token.
func (p *policy) public() bool {
	return p.holds(func(member string) bool { return member == allUsers })
}

// allows tells whether the account may invoke the service.
func (p *policy) allows(email string) bool {
	_, domain, _ := strings.Cut(email, "@")
	return p.holds(func(member string) bool {
		kind, name, _ := strings.Cut(member, ":")
		switch kind {
		case allUsers, anyCaller:
			return true
		case "serviceAccount", "user":
			return strings.EqualFold(name, email)
		case "domain":
			return strings.EqualFold(name, domain)
		default: // who is in a group, nobody has told
			return false
		}
	})
}

// holds tells whether a role that may invoke is granted to such a member.
func (p *policy) holds(such func(member string) bool) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.ContainsFunc(p.kept.GetBindings(), func(b *iampb.Binding) bool {
		return (b.GetRole() == invoker || b.GetRole() == admin) && slices.ContainsFunc(b.GetMembers(), such)
	})
}

func checkPolicy(p *iampb.Policy) error {
	for _, b := range p.GetBindings() {
		if b.GetCondition() != nil {
			return status.Error(codes.Unimplemented, "the emulator does not evaluate conditions of role bindings: leave them out")
		}
		if !strings.Contains(b.GetRole(), "roles/") {
			return status.Errorf(codes.InvalidArgument, "Invalid role %q: use roles/run.invoker", b.GetRole())
		}
		for _, member := range b.GetMembers() {
			if !isMember(member) {
				return status.Errorf(codes.InvalidArgument, "Invalid member %q: use serviceAccount:EMAIL, or allUsers to make the service public", member)
			}
		}
	}
	return nil
}

// isMember knows the forms of https://cloud.google.com/iam/docs/principal-identifiers.
func isMember(member string) bool {
	kind, name, _ := strings.Cut(member, ":")
	switch kind {
	case allUsers, anyCaller:
		return member == kind
	case "serviceAccount", "user", "group":
		user, domain, ok := strings.Cut(name, "@")
		return ok && user != "" && domain != ""
	case "domain", "principal", "principalSet", "deleted":
		return name != ""
	default:
		return false
	}
}
