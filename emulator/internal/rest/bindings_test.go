package rest

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// TestEveryBinding calls every binding of every method that the descriptors name, by a path
// made from its template with a reader of the grammar that shares nothing with ours.
func TestEveryBinding(t *testing.T) {
	h, recorded := newRecorded(Config{})
	bindings := 0
	for _, desc := range services() {
		service := find[protoreflect.ServiceDescriptor](t, desc.ServiceName)
		for _, m := range desc.Methods {
			method := service.Methods().ByName(protoreflect.Name(m.MethodName))
			rule := annotation(method)
			if rule == nil {
				continue
			}
			full := "/" + desc.ServiceName + "/" + m.MethodName
			for _, binding := range append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...) {
				verb, path, want := example(binding)
				if isMixin(desc.ServiceName) {
					continue // bound by the services' own configurations: see TestMixins
				}
				bindings++
				t.Run(fmt.Sprintf("%s %s", verb, path), func(t *testing.T) {
					body := ""
					if binding.GetBody() != "" {
						body = "{}"
					}
					answer := do(h, verb, path, body)
					if answer.Code != http.StatusOK {
						t.Fatalf("status %d: %s", answer.Code, bodyOf(t, answer))
					}
					if recorded.method != full {
						t.Errorf("reached %s, want %s", recorded.method, full)
					}
					for field, value := range want {
						if got := stringField(recorded.request, field); got != value {
							t.Errorf("%s = %q, want %q", field, got, value)
						}
					}
				})
			}
		}
	}
	if bindings < 50 {
		t.Errorf("only %d bindings were found in the descriptors", bindings)
	}
}

func find[D protoreflect.Descriptor](t *testing.T, name string) D {
	t.Helper()
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		t.Fatal(err)
	}
	return found.(D)
}

func annotation(method protoreflect.MethodDescriptor) *annotations.HttpRule {
	rule, _ := proto.GetExtension(method.Options(), annotations.E_Http).(*annotations.HttpRule)
	return rule
}

func isMixin(service string) bool {
	return slices.Contains([]string{"google.iam.v1.IAMPolicy", "google.cloud.location.Locations", "google.longrunning.Operations"}, service)
}

var variableText = regexp.MustCompile(`\{([a-z_.]+)(?:=([^}]*))?\}`)

// example fills a template in: each star gets a text of its own.
func example(rule *annotations.HttpRule) (verb, path string, fields map[string]string) {
	verb, template := pattern(rule)
	fields = make(map[string]string)
	star := 0
	path = variableText.ReplaceAllStringFunc(template, func(variable string) string {
		parts := variableText.FindStringSubmatch(variable)
		value := parts[2]
		if value == "" {
			value = "*"
		}
		for strings.Contains(value, "*") {
			star++
			value = strings.Replace(value, "*", fmt.Sprintf("part-%d", star), 1)
		}
		fields[parts[1]] = value
		return value
	})
	return verb, path, fields
}

func stringField(message proto.Message, path string) string {
	m := message.ProtoReflect()
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		m = m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(name))).Message()
	}
	return m.Get(m.Descriptor().Fields().ByName(protoreflect.Name(names[len(names)-1]))).String()
}

// The paths that gcloud and the client libraries use for what the services mix in.
func TestMixins(t *testing.T) {
	h, recorded := newRecorded(Config{})
	for _, tt := range []struct{ verb, path, method, field, value string }{
		{"GET", "/v1/projects/p/topics/t:getIamPolicy?options.requestedPolicyVersion=3", "/google.iam.v1.IAMPolicy/GetIamPolicy", "resource", "projects/p/topics/t"},
		{"POST", "/v1/projects/p/subscriptions/s:setIamPolicy", "/google.iam.v1.IAMPolicy/SetIamPolicy", "resource", "projects/p/subscriptions/s"},
		{"POST", "/v1/projects/p/snapshots/s:testIamPermissions", "/google.iam.v1.IAMPolicy/TestIamPermissions", "resource", "projects/p/snapshots/s"},
		{"POST", "/v1/projects/p/schemas/s:setIamPolicy", "/google.iam.v1.IAMPolicy/SetIamPolicy", "resource", "projects/p/schemas/s"},
		{"POST", "/v2/projects/p/locations/l/queues/q:getIamPolicy", "/google.cloud.tasks.v2.CloudTasks/GetIamPolicy", "resource", "projects/p/locations/l/queues/q"},
		{"GET", "/v2/projects/p/locations", "/google.cloud.location.Locations/ListLocations", "name", "projects/p"},
		{"GET", "/v2/projects/p/locations/l/operations/o", "/google.longrunning.Operations/GetOperation", "name", "projects/p/locations/l/operations/o"},
		{"GET", "/v2/projects/p/locations/us-central1", "/google.cloud.location.Locations/GetLocation", "name", "projects/p/locations/us-central1"},
	} {
		answer := do(h, tt.verb, tt.path, "")
		if answer.Code != http.StatusOK || recorded.method != tt.method {
			t.Errorf("%s %s: status %d, reached %s", tt.verb, tt.path, answer.Code, recorded.method)
			continue
		}
		if got := stringField(recorded.request, tt.field); got != tt.value {
			t.Errorf("%s %s: %s = %q, want %q", tt.verb, tt.path, tt.field, got, tt.value)
		}
	}
}

// Of the operations' methods only the one that Cloud Tasks publishes is served.
func TestUnpublishedMethodsAreNotServed(t *testing.T) {
	h, _ := newRecorded(Config{})
	for _, path := range []string{"/v1/operations", "/v1/operations/o", "/v2/projects/p/locations/l/operations"} {
		if answer := do(h, "GET", path, ""); answer.Code != http.StatusNotFound {
			t.Errorf("%s: status %d", path, answer.Code)
		}
	}
}

func TestStreamsAreNotServed(t *testing.T) {
	h, recorded := newRecorded(Config{})
	answer := do(h, "POST", "/v1/projects/p/subscriptions/s:streamingPull", "{}")
	if answer.Code != http.StatusMethodNotAllowed || recorded.method != "" {
		t.Errorf("status %d, reached %q; want 405 and nothing", answer.Code, recorded.method)
	}
}
