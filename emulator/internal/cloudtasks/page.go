package cloudtasks

import (
	"encoding/base64"
	"slices"
)

// page sorts names and cuts out those that follow the token's, at most size of them, or at most
// limit where size is zero or above it. It returns the next page's token, empty after the last.
func page(names []string, token string, size int32, limit int) ([]string, string, error) {
	if size < 0 {
		return nil, "", invalid("pageSize must not be negative.")
	}
	if size > 0 {
		limit = min(limit, int(size))
	}
	after, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return nil, "", invalid("pageToken is not one that this service returned.")
	}
	if token != "" {
		names = slices.DeleteFunc(names, func(name string) bool { return name <= string(after) })
	}
	slices.Sort(names)
	if len(names) <= limit {
		return names, "", nil
	}
	return names[:limit], base64.RawURLEncoding.EncodeToString([]byte(names[limit-1])), nil
}
