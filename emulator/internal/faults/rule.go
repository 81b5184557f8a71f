package faults

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Rule says which requests are broken, and how. A Rule that only has a latency is delivered all the same.
type Rule struct {
	Source    string // full name of a queue or subscription; empty: any
	URLPrefix string // with which the target begins; without a path: the whole origin, and no longer port; empty: any

	Latency    time.Duration // waited before anything else happens
	MaxLatency time.Duration // if it is above Latency: the longest of a range, evenly spread

	Status     int           // answered instead of the receiver, which sees nothing
	RetryAfter time.Duration // the answer's Retry-After, in whole seconds; 0: none
	Drop       Drop
	Duplicate  bool // sends the request again once the receiver has answered; that answer is not used

	Times       int     // how often it acts before it is gone; 0: until it is removed
	Probability float64 // that it acts on a request it applies to; 0: it always does
	Seed        uint64  // of what is left to chance
}

// Drop says when the connection is lost.
type Drop int

const (
	// DropNothing leaves the connection alone.
	DropNothing Drop = iota
	// DropRequest loses it before the request is sent: the receiver sees nothing.
	DropRequest
	// DropAnswer loses it after the receiver has handled the request: what it did is done, and nobody knows.
	DropAnswer
)

// target is a URL in the form that prefixes are compared in: without user information, and never without a path.
func target(u *url.URL) string {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	t := strings.ToLower(u.Scheme+"://"+u.Host) + path
	if u.RawQuery != "" {
		t += "?" + u.RawQuery
	}
	return t
}

// normalized is a prefix in the form of target. What is no URL is left as it is, and applies to nothing.
func normalized(prefix string) string {
	if prefix == "" {
		return ""
	}
	u, err := url.Parse(prefix)
	if err != nil {
		return prefix
	}
	return target(u)
}

// applies tells whether the request is one of the rule's. The rule's prefix is normalized.
func (r *Rule) applies(source string, req *http.Request) bool {
	return (r.Source == "" || r.Source == source) &&
		(r.URLPrefix == "" || strings.HasPrefix(target(req.URL), r.URLPrefix))
}
