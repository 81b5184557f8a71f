package rest

import (
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// mixinRule is the rule of a method that Pub/Sub or Cloud Tasks mixes in. The annotations in
// these protos are generic; the services publish their own paths in pubsub_v1.yaml and
// cloudtasks_v2.yaml (github.com/googleapis/googleapis). Cloud Tasks has IAM methods of its own.
func mixinRule(method protoreflect.FullName) (*annotations.HttpRule, bool) {
	switch method {
	case "google.iam.v1.IAMPolicy.GetIamPolicy":
		return pubSubResources(":getIamPolicy", get), true
	case "google.iam.v1.IAMPolicy.SetIamPolicy":
		return pubSubResources(":setIamPolicy", post), true
	case "google.iam.v1.IAMPolicy.TestIamPermissions":
		return pubSubResources(":testIamPermissions", post), true
	case "google.cloud.location.Locations.ListLocations":
		return get("/v2/{name=projects/*}/locations"), true
	case "google.cloud.location.Locations.GetLocation":
		return get("/v2/{name=projects/*/locations/*}"), true
	case "google.longrunning.Operations.GetOperation":
		return get("/v2/{name=projects/*/locations/*/operations/*}"), true
	}
	return nil, method.Parent() == "google.longrunning.Operations" // the others are not published
}

func pubSubResources(verb string, binding func(path string) *annotations.HttpRule) *annotations.HttpRule {
	rule := binding("/v1/{resource=projects/*/topics/*}" + verb)
	for _, collection := range []string{"subscriptions", "snapshots", "schemas"} {
		rule.AdditionalBindings = append(rule.AdditionalBindings, binding("/v1/{resource=projects/*/"+collection+"/*}"+verb))
	}
	return rule
}

func get(path string) *annotations.HttpRule {
	return &annotations.HttpRule{Pattern: &annotations.HttpRule_Get{Get: path}}
}

func post(path string) *annotations.HttpRule {
	return &annotations.HttpRule{Pattern: &annotations.HttpRule_Post{Post: path}, Body: "*"}
}
