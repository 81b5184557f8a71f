package pubsub

import (
	"cmp"
	"encoding/base64"
	"slices"
	"strings"
)

// deletedTopic is what a subscription shows as its topic once that is gone.
const deletedTopic = "_deleted-topic_"

// leaf is the last segment of a resource name.
func leaf(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// project is the project of a checked resource name.
func project(name string) string {
	p, _, _ := strings.Cut(strings.TrimPrefix(name, "projects/"), "/")
	return p
}

func checkTopicName(name string) error        { return checkName(name, "topics") }
func checkSubscriptionName(name string) error { return checkName(name, "subscriptions") }
func checkSnapshotName(name string) error     { return checkName(name, "snapshots") }
func checkSchemaName(name string) error       { return checkName(name, "schemas") }

// checkName accepts projects/P/COLLECTION/ID where ID has 3 to 255 characters of the service's
// alphabet, a letter first, and does not start with goog.
func checkName(name, collection string) error {
	parts := strings.Split(name, "/")
	if len(parts) != 4 || parts[0] != "projects" || parts[1] == "" || parts[2] != collection || !validID(parts[3]) {
		return invalidName(name)
	}
	return nil
}

func checkProjectName(name string) error {
	parts := strings.Split(name, "/")
	if len(parts) != 2 || parts[0] != "projects" || parts[1] == "" {
		return invalidName(name)
	}
	return nil
}

func validID(id string) bool {
	if len(id) < 3 || len(id) > 255 || !isLetter(id[0]) || strings.HasPrefix(id, "goog") {
		return false
	}
	for i := range len(id) {
		if c := id[i]; !isLetter(c) && !isDigit(c) && !strings.ContainsRune("-_.~+%", rune(c)) {
			return false
		}
	}
	return true
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// Limits of a list's page.
const (
	defaultPageSize = 100
	maxPageSize     = 1000
)

// page sorts names and returns those of one page, and the token of the next one. A token is the
// last name of the page before, so a list stays right while resources come and go.
func page(names []string, size int32, token string) (part []string, next string, err error) {
	if size < 0 || size > maxPageSize {
		return nil, "", invalid("The value for page_size is out of bounds. You passed %d in the request, but the value must be between 0 and %d.", size, maxPageSize)
	}
	n := cmp.Or(int(size), defaultPageSize)
	slices.Sort(names)
	if token != "" {
		last, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil || !strings.HasPrefix(string(last), "projects/") {
			return nil, "", invalid("Invalid page token given (token=%s).", token)
		}
		at, found := slices.BinarySearch(names, string(last))
		if found {
			at++
		}
		names = names[at:]
	}
	if len(names) > n {
		names = names[:n]
		next = base64.RawURLEncoding.EncodeToString([]byte(names[n-1]))
	}
	return names, next, nil
}
