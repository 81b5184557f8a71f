package deliverylog

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

const (
	// AnswerBytes is how much of an answer Reason may look at.
	AnswerBytes = 4 << 10

	maxReasonBytes = 400
)

// Reason is why a receiver refuses, by its own word: the first line of an answer of plain text, up to
// 400 bytes. Other answers may be meant for machines, and hold what is not to be logged.
func Reason(status int, header http.Header, body []byte) string {
	if status >= 300 && status < 400 {
		return "redirects are not followed"
	}
	if strings.HasPrefix(header.Get("Content-Type"), "text/plain") && header.Get("Content-Encoding") == "" {
		line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
		if line = shorten(strings.ToValidUTF8(strings.TrimSpace(line), "")); line != "" {
			return line
		}
	}
	if text := http.StatusText(status); text != "" {
		return text
	}
	return "the receiver does not say why"
}

// shorten cuts between two characters, and shows that it did.
func shorten(s string) string {
	if len(s) <= maxReasonBytes {
		return s
	}
	end := maxReasonBytes
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// Unanswered says why a client got no answer: without the URL, whose query may be a secret, and without the
// connection's own port, so that the same failure reads the same each time.
func Unanswered(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op != "dial" {
		return fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	return err
}

// Target is what of a URL can be logged: no query, no fragment, no user information.
func Target(url string) string {
	if i := strings.IndexAny(url, "?#"); i >= 0 {
		url = url[:i]
	}
	if scheme, rest, ok := strings.Cut(url, "://"); ok {
		authority, path, hasPath := strings.Cut(rest, "/")
		if i := strings.LastIndexByte(authority, '@'); i >= 0 {
			url = scheme + "://" + authority[i+1:]
			if hasPath {
				url += "/" + path
			}
		}
	}
	return url
}
