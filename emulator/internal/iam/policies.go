package iam

import (
	"bytes"
	"encoding/binary"
	"sync"

	"cloud.google.com/go/iam/apiv1/iampb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Policies are the policies of a service's resources, by their full names. The zero value is ready.
type Policies struct {
	mu       sync.Mutex
	policies map[string]*iampb.Policy
	changes  uint64 // numbers the etags, so that none comes twice
}

// unset is the etag of a resource whose policy was never set, as the service's own: "ACAB" in base64.
const unset = "\x00\x20\x01"

// Get returns a copy of the resource's policy: an empty one with an etag where none was set.
func (p *Policies) Get(resource string) *iampb.Policy {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.get(resource)
}

func (p *Policies) get(resource string) *iampb.Policy {
	if policy := p.policies[resource]; policy != nil {
		return proto.CloneOf(policy)
	}
	return &iampb.Policy{Etag: []byte(unset)}
}

// Set replaces the resource's policy and returns it with its new etag. It fails with
// INVALID_ARGUMENT where the policy's form is wrong, and with ABORTED where it carries an etag
// that is not the current one's. A policy without an etag overwrites whatever is there.
func (p *Policies) Set(resource string, policy *iampb.Policy) (*iampb.Policy, error) {
	if err := Check(policy); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if etag := policy.GetEtag(); len(etag) > 0 && !bytes.Equal(etag, p.get(resource).Etag) {
		return nil, status.Error(codes.Aborted, "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.")
	}
	return proto.CloneOf(p.put(resource, policy)), nil
}

// Update is Set of a part: the paths of the mask are "bindings" and "etag", as the default of
// SetIamPolicyRequest.update_mask has it, "audit_configs" and "version". An empty mask is that default.
func (p *Policies) Update(resource string, policy *iampb.Policy, paths []string) (*iampb.Policy, error) {
	if len(paths) == 0 {
		return p.Set(resource, policy)
	}
	next := p.Get(resource)
	for _, path := range paths {
		switch path {
		case "bindings":
			next.Bindings = policy.GetBindings()
		case "audit_configs", "auditConfigs":
			next.AuditConfigs = policy.GetAuditConfigs()
		case "version":
			next.Version = policy.GetVersion()
		case "etag":
			next.Etag = policy.GetEtag()
		default:
			return nil, status.Errorf(codes.InvalidArgument, "Invalid update_mask provided in the SetIamPolicyRequest: the '%s' field in the Policy is unknown.", path)
		}
	}
	return p.Set(resource, next)
}

// put stores a copy under a new etag and returns what it stored.
func (p *Policies) put(resource string, policy *iampb.Policy) *iampb.Policy {
	stored := proto.CloneOf(policy)
	if stored == nil {
		stored = &iampb.Policy{}
	}
	if stored.Version == 0 {
		stored.Version = 1
	}
	p.changes++
	stored.Etag = binary.BigEndian.AppendUint64(nil, p.changes)
	if p.policies == nil {
		p.policies = make(map[string]*iampb.Policy)
	}
	p.policies[resource] = stored
	return stored
}

// Delete forgets the resource's policy, as happens when the resource is deleted.
func (p *Policies) Delete(resource string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.policies, resource)
}

// Clear forgets all policies.
func (p *Policies) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.policies)
}
