package cloudtasks

import (
	"net/url"
	"strconv"
	"strings"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
)

// encodeURL encodes in the path and the query what does not belong there: spaces, control characters, what is not
// ASCII, and a % that begins no escape. The service does so too ("will encode some characters for safety and
// compatibility"); which ones, is not confirmed. What is encoded already stays as it is.
func encodeURL(raw string) string {
	from := 0
	if scheme := strings.Index(raw, "://"); scheme >= 0 {
		from = scheme + len("://")
	}
	end := strings.IndexAny(raw[from:], "/?#")
	if end < 0 {
		return raw // no more than a host
	}
	from += end
	return raw[:from] + escape(raw[from:])
}

func escape(text string) string {
	clean := true
	for i := range len(text) {
		clean = clean && !mustEscape(text, i)
	}
	if clean {
		return text
	}
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; mustEscape(text, i) {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

func mustEscape(text string, i int) bool {
	switch c := text[i]; {
	case c <= ' ' || c >= 0x7f:
		return true
	case c == '%':
		return i+2 >= len(text) || !isHex(text[i+1]) || !isHex(text[i+2])
	default:
		return strings.IndexByte("\"<>\\^`{|}", c) >= 0
	}
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// overrideURL is a task's URL as the queue changes it. In the mode IF_NOT_EXISTS only what the URL lacks is set: its
// scheme and host are always there, a path of "/" counts as none (not confirmed).
func overrideURL(raw string, o *cloudtaskspb.UriOverride) (string, error) {
	u, err := url.Parse(encodeURL(raw))
	if err != nil || o == nil {
		return raw, err
	}
	always := o.GetUriOverrideEnforceMode() != cloudtaskspb.UriOverride_IF_NOT_EXISTS
	if o.Scheme != nil && always {
		u.Scheme = schemeOf(o)
	}
	if o.Host != nil && always {
		u.Host = joinPort(o.GetHost(), u.Port())
	}
	if o.Port != nil && (always || u.Port() == "") {
		u.Host = joinPort(strings.Trim(u.Hostname(), "[]"), portOf(o))
	}
	if o.PathOverride != nil && (always || strings.Trim(u.Path, "/") == "") {
		setPath(u, o.GetPathOverride().GetPath())
	}
	if o.QueryOverride != nil && (always || u.RawQuery == "") {
		u.RawQuery = strings.ReplaceAll(escape(o.GetQueryOverride().GetQueryParams()), "#", "%23")
		u.ForceQuery = false
	}
	return u.String(), nil
}

// urlOf is the URL that an override makes without a task's.
func urlOf(o *cloudtaskspb.UriOverride) string {
	u := &url.URL{Scheme: schemeOf(o), Host: joinPort(o.GetHost(), portOf(o))}
	setPath(u, o.GetPathOverride().GetPath())
	u.RawQuery = strings.ReplaceAll(escape(o.GetQueryOverride().GetQueryParams()), "#", "%23")
	return u.String()
}

// schemeOf takes HTTPS for unspecified, as the enum's comment does.
func schemeOf(o *cloudtaskspb.UriOverride) string {
	if o.GetScheme() == cloudtaskspb.UriOverride_HTTP {
		return "http"
	}
	return "https"
}

// portOf is empty for 0, which clears the port.
func portOf(o *cloudtaskspb.UriOverride) string {
	if o.GetPort() == 0 {
		return ""
	}
	return strconv.FormatInt(o.GetPort(), 10)
}

func joinPort(host, port string) string {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	if port == "" {
		return host
	}
	return host + ":" + port
}

func setPath(u *url.URL, path string) {
	if path != "" && !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	path = strings.NewReplacer("?", "%3F", "#", "%23").Replace(escape(path))
	u.RawPath = path
	u.Path, _ = url.PathUnescape(path) // escape leaves no bad one
}
