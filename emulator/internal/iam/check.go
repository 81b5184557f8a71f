package iam

import (
	"slices"
	"strings"

	"cloud.google.com/go/iam/apiv1/iampb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxMembers is the most members of all bindings together.
const maxMembers = 1500

// Check reports with INVALID_ARGUMENT what is wrong with the form of a policy.
func Check(policy *iampb.Policy) error {
	if policy == nil {
		return invalid("The policy is missing: set it in the request, if only an empty one.")
	}
	if v := policy.GetVersion(); v != 0 && v != 1 && v != 3 {
		return invalid("Invalid policy version given (version=%d). It must be 0, 1 or 3.", v)
	}
	members := 0
	for _, b := range policy.GetBindings() {
		if !validRole(b.GetRole()) {
			return invalid("Role %s is not supported for this resource: use roles/NAME, projects/PROJECT/roles/NAME or organizations/ORGANIZATION/roles/NAME.", b.GetRole())
		}
		if b.GetCondition() != nil && policy.GetVersion() != 3 {
			return invalid("The binding of %s has a condition: that needs a policy of version 3.", b.GetRole())
		}
		members += len(b.GetMembers())
		for _, m := range b.GetMembers() {
			if !validMember(m) {
				return invalid("Invalid member given (member=%s). Use allUsers, allAuthenticatedUsers, or a prefix as user:, serviceAccount:, group: or domain: before a name.", m)
			}
		}
	}
	if members > maxMembers {
		return invalid("The policy has %d members, but at most %d are allowed.", members, maxMembers)
	}
	return nil
}

// CheckPermissions reports with INVALID_ARGUMENT what TestIamPermissions refuses: wildcards, and
// permissions of another service than the given one ("pubsub", "cloudtasks").
func CheckPermissions(service string, permissions []string) error {
	for _, p := range permissions {
		if strings.Contains(p, "*") {
			return invalid("Permission %s has a wildcard, which is not allowed here.", p)
		}
		if parts := strings.Split(p, "."); len(parts) != 3 || parts[0] != service || slices.Contains(parts, "") {
			return invalid("Permission %s is not valid for this resource.", p)
		}
	}
	return nil
}

func validRole(role string) bool {
	parts := strings.Split(role, "/")
	switch {
	case len(parts) == 2:
		return parts[0] == "roles" && parts[1] != ""
	case len(parts) == 4:
		return (parts[0] == "projects" || parts[0] == "organizations") && parts[1] != "" && parts[2] == "roles" && parts[3] != ""
	default:
		return false
	}
}

func validMember(member string) bool {
	if member == "allUsers" || member == "allAuthenticatedUsers" {
		return true
	}
	kind, name, found := strings.Cut(member, ":")
	if !found || name == "" || strings.ContainsAny(name, " \t\r\n") {
		return false
	}
	switch kind {
	case "user", "serviceAccount", "group":
		return isEmail(name) || kind == "serviceAccount" && strings.Contains(name, ".svc.id.goog[")
	case "domain":
		return !strings.Contains(name, "@")
	case "deleted":
		kind, name, found = strings.Cut(name, ":")
		email, uid, hasUID := strings.Cut(name, "?uid=")
		return found && (kind == "user" || kind == "serviceAccount" || kind == "group") && hasUID && uid != "" && isEmail(email)
	case "principal", "principalSet":
		return strings.HasPrefix(name, "//")
	case "projectOwner", "projectEditor", "projectViewer":
		return true
	default:
		return false
	}
}

func isEmail(s string) bool {
	at := strings.LastIndexByte(s, '@')
	return at > 0 && at < len(s)-1 && !strings.Contains(s[:at], "@")
}

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}
