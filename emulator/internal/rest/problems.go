package rest

import (
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxViolations bounds the answer to a body that is wrong all over.
const maxViolations = 16

// violations are what is wrong with a request, in the sentences of Google's servers.
type violations []*errdetails.BadRequest_FieldViolation

func (v *violations) add(field, description string) {
	if len(*v) < maxViolations {
		*v = append(*v, &errdetails.BadRequest_FieldViolation{Field: field, Description: description})
	}
}

// unknownName reports a name in a query string or at the root of a body.
func (v *violations) unknownName(name, why string) {
	v.unknownNameAt("", name, why)
}

func (v *violations) unknownNameAt(path, name, why string) {
	at := ""
	if path != "" {
		at = fmt.Sprintf(" at '%s'", path)
	}
	v.add(path, fmt.Sprintf("Invalid JSON payload received. Unknown name %s%s: %s", quote(clip(name)), at, why))
}

// invalidValue takes the value as JSON.
func (v *violations) invalidValue(path string, f protoreflect.FieldDescriptor, value string) {
	if f.Kind() == protoreflect.BytesKind { // a payload, and long
		v.add(path, fmt.Sprintf("Invalid value at '%s' (%s), Base64 decoding failed", path, typeName(f)))
		return
	}
	v.add(path, fmt.Sprintf("Invalid value at '%s' (%s), %s", path, typeName(f), clip(value)))
}

// err is nil without violations.
func (v violations) err() error {
	if len(v) == 0 {
		return nil
	}
	sentences := make([]string, len(v))
	for i, violation := range v {
		sentences[i] = violation.GetDescription()
	}
	s := status.New(codes.InvalidArgument, strings.Join(sentences, "\n"))
	if detailed, err := s.WithDetails(&errdetails.BadRequest{FieldViolations: v}); err == nil {
		s = detailed
	}
	return s.Err()
}

func invalidf(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// clip shortens what a caller sent before it is shown back.
func clip(text string) string {
	const most = 100
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "..."
}

func shown(text string) string { return quote(clip(text)) }

// quote writes a JSON string. The text need not be valid UTF-8.
func quote(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		return `""`
	}
	return string(b)
}
