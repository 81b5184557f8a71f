package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxMembers bounds the comparisons that the search for duplicates makes. Google's tokens have about twelve.
const maxMembers = 64

// members calls f with each member of the JSON object in data, in order. It is stricter than
// encoding/json, because two readers of one document must never see different things in it: a name
// that comes twice, in whatever case, is refused (encoding/json takes the last, ignoring case), and
// so are escapes in names, invalid UTF-8 and anything that is not one object.
// The strings given to f are parts of data.
func members(data string, f func(name, value string) error) error {
	switch {
	case !utf8.ValidString(data):
		return errors.New("is not UTF-8")
	case !json.Valid([]byte(data)):
		return errors.New("is not JSON")
	}
	rest := trimSpace(data)
	if rest[0] != '{' {
		return errors.New("is not a JSON object")
	}
	var seen [maxMembers]string
	n := 0
	// The document is valid, so each step below finds what the grammar says must be there.
	for rest = trimSpace(rest[1:]); rest[0] != '}'; rest = trimSpace(rest) {
		if rest[0] == ',' {
			rest = trimSpace(rest[1:])
		}
		end := stringEnd(rest)
		name := rest[1 : end-1]
		if strings.IndexByte(name, '\\') >= 0 {
			return errors.New("has an escape in a member's name")
		}
		for _, s := range seen[:n] {
			if strings.EqualFold(s, name) {
				return fmt.Errorf("has the member %s more than once", quote(name))
			}
		}
		if n == maxMembers {
			return fmt.Errorf("has more than %d members", maxMembers)
		}
		seen[n] = name
		n++
		rest = trimSpace(trimSpace(rest[end:])[1:]) // the colon
		end = valueEnd(rest)
		if err := f(name, rest[:end]); err != nil {
			return err
		}
		rest = rest[end:]
	}
	return nil
}

func trimSpace(s string) string {
	for i := range len(s) {
		if c := s[i]; c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return s[i:]
		}
	}
	return ""
}

// stringEnd is the length of the JSON string at the start of s.
func stringEnd(s string) int {
	for i := 1; ; i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
}

// valueEnd is the length of the JSON value at the start of s, which an object encloses.
func valueEnd(s string) int {
	depth := 0
	for i := 0; ; i++ {
		switch s[i] {
		case '"':
			i += stringEnd(s[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
			continue
		default:
			continue
		}
		if depth == 0 {
			return i + 1
		}
	}
}

// stringValue reads a JSON string.
func stringValue(value string) (string, error) {
	if value[0] != '"' {
		return "", fmt.Errorf("is %s where a string is expected", kind(value))
	}
	if strings.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1], nil
	}
	var s string
	err := json.Unmarshal([]byte(value), &s)
	return s, err
}

// secondsValue reads a time in whole seconds since 1970. RFC 7519 would allow fractions; Google sends none,
// and a reader that rounds is one that disagrees with another.
func secondsValue(value string) (int64, error) {
	const endOf9999 = 253402300799
	for _, c := range []byte(value) {
		if c < '0' || c > '9' {
			return 0, fmt.Errorf("is %s where whole seconds are expected", kind(value))
		}
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n == 0 || n > endOf9999 {
		return 0, errors.New("is not a time between 1970 and 9999")
	}
	return n, nil
}

func kind(value string) string {
	switch value[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	default:
		return "a number of another form"
	}
}
