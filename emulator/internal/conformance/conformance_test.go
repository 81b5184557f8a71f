package conformance

import (
	"strings"
	"testing"

	"cloud.google.com/go/iam/apiv1/iampb"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// covers is a document without a fault for google.iam.v1.IAMPolicy.
const covers = "# IAM\n\n" +
	"| what | how | tests |\n|---|---|---|\n" +
	"| `IAMPolicy.SetIamPolicy`, `IAMPolicy.GetIamPolicy` | kept | `TestCheck` |\n" +
	"| `IAMPolicy.TestIamPermissions` | all | `TestFaults`, `TestCheck` |\n" +
	"| `SetIamPolicyRequest.*`, `GetIamPolicyRequest.*`, `TestIamPermissionsRequest.*`, `TestIamPermissionsResponse.permissions` | | `TestCheck` |\n" +
	"| `GetPolicyOptions.requested_policy_version` | | `TestCheck` |\n" +
	"| `Policy.version`, `Policy.bindings`, `Policy.audit_configs`, `Policy.etag` | | `TestCheck` |\n" +
	"| `Binding.*`, `AuditConfig.*`, `AuditLogConfig.*` | a condition is kept | `TestCheck` |\n\n" +
	"| other | table |\n|---|---|\n| `word` | about `nothing` |\n"

func config() Config {
	return Config{
		Services: []protoreflect.ServiceDescriptor{iampb.File_google_iam_v1_iam_policy_proto.Services().Get(0)},
		Dirs:     []string{"."},
	}
}

func TestCheck(t *testing.T) {
	if err := Check([]byte(covers), config()); err != nil {
		t.Error(err)
	}
}

func TestFaults(t *testing.T) {
	for name, test := range map[string]struct{ old, new, want string }{
		"a method is missing": {"`IAMPolicy.SetIamPolicy`, ", "", "no row for IAMPolicy.SetIamPolicy"},
		"a field is missing":  {"`Policy.etag`", "", "no row for Policy.etag"},
		"a message is missing": {
			"`AuditConfig.*`, ", "", "no row for AuditConfig.audit_log_configs\nno row for AuditConfig.service",
		},
		"an unknown field":   {"`Policy.etag`", "`Policy.etag`, `Policy.tag`", "line 9: Policy.tag is neither a method nor a field of the services"},
		"an unknown message": {"`Binding.*`", "`Binding.*`, `Binder.*`", "line 10: Binder.* is neither"},
		"an unknown test":    {"`TestFaults`", "`TestNothing`", "line 6: the test TestNothing does not exist in ."},
		"no test":            {"`TestFaults`, `TestCheck`", "", "line 6: no test is named for IAMPolicy.TestIamPermissions"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check([]byte(strings.Replace(covers, test.old, test.new, 1)), config())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("err %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestDirWithoutTests(t *testing.T) {
	c := config()
	c.Dirs = append(c.Dirs, t.TempDir())
	if err := Check([]byte(covers), c); err == nil {
		t.Error("a folder without tests was accepted")
	}
}
