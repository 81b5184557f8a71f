package cloudtasks

import (
	"encoding/base64"
	"encoding/binary"
	"hash/fnv"
	"strings"
)

const (
	maxQueuePage    = 9800
	maxTaskPage     = 1000
	maxLocationPage = 1000

	// maxPageBytes ends a page early. gRPC clients of many languages refuse messages above 4 MiB by default.
	maxPageBytes = 3 << 20
)

// cursor is where a page begins. Its token is the last name before it, together with what the first page was asked
// with; so it depends on nothing else, and stays good however the list changes. (The real service's are good for
// two hours.)
type cursor struct {
	after string // list what comes after this name
	limit int    // and at most so many
	query string // the filter
}

func newCursor(token string, size int32, most int, query string) (cursor, error) {
	c := cursor{limit: most, query: query}
	if size < 0 {
		return c, invalid("page_size", "pageSize must not be negative.")
	}
	if size > 0 {
		c.limit = min(most, int(size))
	}
	if token == "" {
		return c, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(token)
	name, sum, found := strings.Cut(string(text), "\x00")
	if err != nil || !found || name == "" {
		return c, invalid("page_token", "pageToken is not one that this service returned.")
	}
	if sum != c.sum() {
		return c, invalid("page_token", "pageToken is of a list with another filter: the filter must not change between pages.")
	}
	c.after = name
	return c, nil
}

// token is for the page after the name; empty if there is none.
func (c cursor) token(last string, more bool) string {
	if !more {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString([]byte(last + "\x00" + c.sum()))
}

func (c cursor) sum() string {
	if c.query == "" {
		return ""
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(c.query)) // never fails
	return string(binary.BigEndian.AppendUint64(nil, h.Sum64()))
}
