package cloudtasks

import (
	"context"
	"time"

	"cloud.google.com/go/iam/apiv1/iampb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"waybill.dev/emulator/internal/iam"
)

// Policies are kept for those who ask. Nothing is refused by them.

// GetIamPolicy answers an empty policy where none was set.
func (s service) GetIamPolicy(_ context.Context, r *iampb.GetIamPolicyRequest) (*iampb.Policy, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.queue(r.GetResource()); err != nil {
		return nil, err
	}
	return s.policies.Get(r.GetResource()), nil
}

// SetIamPolicy replaces the policy, or the part of it that the mask names.
func (s service) SetIamPolicy(_ context.Context, r *iampb.SetIamPolicyRequest) (*iampb.Policy, error) {
	return commit(s, func(time.Time) (*iampb.Policy, error) {
		if _, err := s.queue(r.GetResource()); err != nil {
			return nil, err
		}
		if r.GetPolicy() == nil {
			return nil, invalid("policy", "The policy is missing: send an empty one to take all bindings away.")
		}
		set, err := s.policies.Update(r.GetResource(), r.GetPolicy(), r.GetUpdateMask().GetPaths())
		if err == nil {
			s.journal.putPolicy(r.GetResource(), set)
		}
		return set, err
	})
}

// TestIamPermissions grants everything on a queue that exists, and nothing on one that does not.
func (s service) TestIamPermissions(_ context.Context, r *iampb.TestIamPermissionsRequest) (*iampb.TestIamPermissionsResponse, error) {
	if err := iam.CheckPermissions("cloudtasks", r.GetPermissions()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.queue(r.GetResource())
	switch status.Code(err) {
	case codes.OK:
		return &iampb.TestIamPermissionsResponse{Permissions: r.GetPermissions()}, nil
	case codes.NotFound:
		return &iampb.TestIamPermissionsResponse{}, nil
	default:
		return nil, err
	}
}
