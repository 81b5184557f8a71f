package rest

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

type param struct{ name, value string }

// parseQuery keeps the order of the parameters and parts them at "&" alone: net/url drops a
// parameter with a bare semicolon, and $alt=json;enum-encoding=int has one.
func parseQuery(raw string) ([]param, error) {
	var params []param
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return nil, invalidf("Invalid query string: %v.", err)
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return nil, invalidf("Invalid query string: %v.", err)
		}
		params = append(params, param{name, value})
	}
	return params, nil
}

// isSystem tells the general parameters of Google's APIs, which are no fields of a request
// (https://cloud.google.com/apis/docs/system-parameters).
func isSystem(name string) bool {
	switch strings.TrimPrefix(name, "$") {
	case "alt", "prettyPrint", "callback", "fields", "key", "quotaUser", "userProject", "userIp",
		"access_token", "oauth_token", "uploadType", "upload_protocol", "trace",
		"xgafv", ".xgafv", "apiVersion", "ct", "unique":
		return true
	}
	return false
}

// format is how the caller wants the answer written.
type format struct {
	enumNumbers bool
	compact     bool
}

func parseFormat(params []param) (format, error) {
	var f format
	for _, p := range params {
		switch p.name {
		case "alt", "$alt":
			kind, options, _ := strings.Cut(p.value, ";")
			if kind != "json" {
				return f, invalidf("The response format %s is not supported: use alt=json.", shown(p.value))
			}
			for option := range strings.SplitSeq(options, ";") {
				f.enumNumbers = f.enumNumbers || option == "enum-encoding=int"
			}
		case "prettyPrint", "$prettyPrint":
			f.compact = p.value == "false"
		}
	}
	return f, nil
}

// setParams binds every parameter that is no system parameter to its field, or refuses it.
func setParams(m protoreflect.Message, params []param) error {
	var problems violations
	seen := make(map[string]bool)
	for _, p := range params {
		if isSystem(p.name) {
			continue
		}
		fields, err := resolve(m.Descriptor(), p.name)
		if err != nil {
			problems.unknownName(p.name, fmt.Sprintf("Cannot bind query parameter. Field '%s' could not be found in request message.", clip(p.name)))
			continue
		}
		path := fields.String()
		if seen[path] && !fields.leaf().IsList() {
			problems.unknownName(p.name, "Proto field is not repeating, cannot start list.")
			continue
		}
		seen[path] = true
		switch err := setField(m, fields, p.value); {
		case errors.Is(err, errMessage):
			problems.unknownName(p.name, fmt.Sprintf("Cannot bind query parameter. '%s' is a message type. Parameters can only be bound to primitive types.", clip(p.name)))
		case err != nil:
			problems.invalidValue(path, fields.leaf(), quote(p.value))
		}
	}
	return problems.err()
}

// setField sets one value, or appends it to a repeated field.
func setField(m protoreflect.Message, fields fieldPath, text string) error {
	f := fields.leaf()
	if f.IsMap() {
		return errMessage
	}
	parent := fields.parent(m)
	if f.IsList() {
		list := parent.Mutable(f).List()
		value, err := parseText(f, list.NewElement, text)
		if err == nil {
			list.Append(value)
		}
		return err
	}
	value, err := parseText(f, func() protoreflect.Value { return parent.NewField(f) }, text)
	if err == nil {
		parent.Set(f, value)
	}
	return err
}
