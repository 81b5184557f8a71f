package iam

import (
	"encoding/binary"

	"cloud.google.com/go/iam/apiv1/iampb"
	"google.golang.org/protobuf/proto"
)

// Restore puts back what Set has returned, in an earlier process for instance, with its etag. Later etags differ from it.
func (p *Policies) Restore(resource string, policy *iampb.Policy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.policies == nil {
		p.policies = make(map[string]*iampb.Policy)
	}
	p.policies[resource] = proto.CloneOf(policy)
	if etag := policy.GetEtag(); len(etag) == 8 {
		p.changes = max(p.changes, binary.BigEndian.Uint64(etag))
	}
}
