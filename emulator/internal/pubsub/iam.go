package pubsub

import (
	"context"
	"strings"

	"cloud.google.com/go/iam/apiv1/iampb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"waybill.dev/emulator/internal/iam"
)

// checkResource reports why the name is not that of a topic, subscription, snapshot or schema that exists.
func (s *Service) checkResource(name string) error {
	parts := strings.Split(name, "/")
	if len(parts) != 4 {
		return invalidName(name)
	}
	if err := checkName(name, parts[2]); err != nil {
		return err
	}
	if s.ctx.Err() != nil {
		return errClosed()
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.checkExists(name)
}

// checkExists reports whether there is the resource. Service.mu is held.
func (s *Service) checkExists(name string) error {
	var exists bool
	switch strings.Split(name, "/")[2] {
	case "topics":
		exists = s.topics[name] != nil
	case "subscriptions":
		exists = s.subscriptions[name] != nil
	case "snapshots":
		exists = s.snapshots[name] != nil
	case "schemas":
		exists = s.schemas[name] != nil
	default:
		return invalidName(name)
	}
	if !exists {
		return notFound(name)
	}
	return nil
}

// GetIamPolicy implements google.iam.v1.IAMPolicy.
func (s *Service) GetIamPolicy(_ context.Context, req *iampb.GetIamPolicyRequest) (*iampb.Policy, error) {
	if err := s.checkResource(req.GetResource()); err != nil {
		return nil, err
	}
	if v := req.GetOptions().GetRequestedPolicyVersion(); v != 0 && v != 1 && v != 3 {
		return nil, invalid("Invalid policy version requested (requested_policy_version=%d). It must be 0, 1 or 3.", v)
	}
	return s.policies.Get(req.GetResource()), nil
}

// SetIamPolicy implements google.iam.v1.IAMPolicy. Policies are kept; nobody is refused by them.
func (s *Service) SetIamPolicy(_ context.Context, req *iampb.SetIamPolicyRequest) (*iampb.Policy, error) {
	return durable(s, func() (*iampb.Policy, error) { return s.setIamPolicy(req) })
}

func (s *Service) setIamPolicy(req *iampb.SetIamPolicyRequest) (*iampb.Policy, error) {
	if err := s.checkResource(req.GetResource()); err != nil {
		return nil, err
	}
	s.mu.Lock() // the resource must not go meanwhile
	defer s.mu.Unlock()
	if err := s.checkExists(req.GetResource()); err != nil {
		return nil, err
	}
	policy, err := s.policies.Update(req.GetResource(), req.GetPolicy(), req.GetUpdateMask().GetPaths())
	if err == nil {
		s.journal.putPolicy(req.GetResource(), policy)
	}
	return policy, err
}

func (s *Service) deletePolicy(resource string) {
	s.policies.Delete(resource)
	s.journal.deletePolicy(resource)
}

// TestIamPermissions implements google.iam.v1.IAMPolicy. The caller has every permission. As in the
// service, a resource that does not exist is no error: the caller has none there.
func (s *Service) TestIamPermissions(_ context.Context, req *iampb.TestIamPermissionsRequest) (*iampb.TestIamPermissionsResponse, error) {
	if err := iam.CheckPermissions("pubsub", req.GetPermissions()); err != nil {
		return nil, err
	}
	err := s.checkResource(req.GetResource())
	if status.Code(err) == codes.NotFound {
		return &iampb.TestIamPermissionsResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	return &iampb.TestIamPermissionsResponse{Permissions: req.GetPermissions()}, nil
}
