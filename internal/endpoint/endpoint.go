// Package endpoint checks the URLs that messages and ID tokens are sent to:
// https, or plain http to this machine.
package endpoint

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// Parse parses an absolute URL and refuses what a token must not be sent to:
// a scheme other than https, except http to a loopback address, and user
// information. Its errors repeat neither the URL's query nor its user information.
func Parse(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// The parser's error quotes its whole input, which may hold a secret.
		if inner, ok := errors.AsType[*url.Error](err); ok {
			err = inner.Err
		}
		return nil, fmt.Errorf("the URL cannot be parsed: %w", err)
	}
	switch {
	case u.Scheme == "" || u.Host == "" || u.Hostname() == "":
		return nil, errors.New("the URL must be absolute, like https://host/path")
	case u.User != nil:
		return nil, errors.New("the URL must hold no user information: the ID token says who is calling")
	case u.Scheme == "https":
		return u, nil
	case u.Scheme != "http":
		return nil, fmt.Errorf("the URL's scheme is %q: use https", u.Scheme)
	case !Loopback(u.Hostname()):
		return nil, fmt.Errorf("the URL is plain http to %s, where others could read the token: use https (http is for loopback addresses only)", u.Host)
	}
	return u, nil
}

// Loopback reports whether host, without a port, names this machine:
// localhost, a name under it, or a loopback address.
func Loopback(host string) bool {
	if strings.EqualFold(host, "localhost") || len(host) > len(".localhost") && strings.EqualFold(host[len(host)-len(".localhost"):], ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// SameOrigin reports whether a and b have the same scheme, host and port,
// where a missing port is the scheme's own.
func SameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && SameHost(a.Scheme, a.Host, b.Host)
}

// SameHost reports whether two host[:port] of one scheme name the same host and port.
func SameHost(scheme, a, b string) bool {
	return a == b || strings.EqualFold(withPort(scheme, a), withPort(scheme, b))
}

func withPort(scheme, host string) string {
	if strings.LastIndexByte(host, ':') > strings.LastIndexByte(host, ']') {
		return host
	}
	if scheme == "https" {
		return host + ":443"
	}
	return host + ":80"
}
