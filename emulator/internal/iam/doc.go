// Package iam keeps the IAM policies of the emulated resources, for Cloud Tasks and for Pub/Sub.
//
// # Usage
//
//	var policies iam.Policies
//	policy := policies.Get("projects/p/topics/t")
//	policy.Bindings = append(policy.Bindings, &iampb.Binding{Role: "roles/pubsub.publisher", Members: []string{"allUsers"}})
//	policy, err := policies.Set("projects/p/topics/t", policy)
//
// A policy is kept, checked for its form and given back; it grants and denies nothing by itself.
// Whether the resource exists is the caller's question.
//
// # What the service does, and its source
//
// The comments of google/iam/v1/policy.proto: every policy has an etag, one that is not the
// current one is refused with ABORTED, a request without one overwrites; versions are 0, 1 and 3,
// and conditions need version 3; the forms of members; at most 1,500 members. A role is
// "roles/NAME", "projects/P/roles/NAME" or "organizations/O/roles/NAME". The sentences of the
// errors are Waybill's own: those of the service are not confirmed.
//
// # Concurrency
//
// The zero [Policies] is ready and safe for concurrent use. What Get and Set return is the caller's.
package iam
