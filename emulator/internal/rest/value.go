package rest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const fieldMaskName protoreflect.FullName = "google.protobuf.FieldMask"

var (
	errValue   = errors.New("not a value of the field's type")
	errMessage = errors.New("a message, not a single value")
)

// parseText reads what stands in a path or in a query string for one value of field f, which
// is a fresh value of a message field. Scalars, enums by name or number and those well-known
// messages that are a string or a number in JSON have such a form.
func parseText(f protoreflect.FieldDescriptor, fresh func() protoreflect.Value, text string) (protoreflect.Value, error) {
	if f.Message() == nil {
		return parseScalar(f, text)
	}
	value := fresh()
	m := value.Message()
	switch name := f.Message().FullName(); name {
	case fieldMaskName:
		setMask(m, text)
		return value, nil
	case "google.protobuf.Timestamp", "google.protobuf.Duration":
		if err := protojson.Unmarshal([]byte(quote(text)), m.Interface()); err != nil {
			return value, errValue
		}
		return value, nil
	case "google.protobuf.DoubleValue", "google.protobuf.FloatValue",
		"google.protobuf.Int64Value", "google.protobuf.UInt64Value",
		"google.protobuf.Int32Value", "google.protobuf.UInt32Value",
		"google.protobuf.BoolValue", "google.protobuf.StringValue", "google.protobuf.BytesValue":
		wrapped := f.Message().Fields().ByName("value")
		scalar, err := parseScalar(wrapped, text)
		if err == nil {
			m.Set(wrapped, scalar)
		}
		return value, err
	}
	return value, errMessage
}

func parseScalar(f protoreflect.FieldDescriptor, text string) (protoreflect.Value, error) {
	switch f.Kind() {
	case protoreflect.StringKind:
		if !utf8.ValidString(text) {
			return protoreflect.Value{}, errValue
		}
		return protoreflect.ValueOfString(text), nil
	case protoreflect.BytesKind:
		b, err := decodeBase64(text)
		return protoreflect.ValueOfBytes(b), err
	case protoreflect.EnumKind:
		if v := f.Enum().Values().ByName(protoreflect.Name(text)); v != nil {
			return protoreflect.ValueOfEnum(v.Number()), nil
		}
		n, err := strconv.ParseInt(text, 10, 32)
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(n)), err
	case protoreflect.BoolKind:
		if text != "true" && text != "false" {
			return protoreflect.Value{}, errValue
		}
		return protoreflect.ValueOfBool(text == "true"), nil
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		n, err := strconv.ParseInt(text, 10, 32)
		return protoreflect.ValueOfInt32(int32(n)), err
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		n, err := strconv.ParseInt(text, 10, 64)
		return protoreflect.ValueOfInt64(n), err
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		n, err := strconv.ParseUint(text, 10, 32)
		return protoreflect.ValueOfUint32(uint32(n)), err
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		n, err := strconv.ParseUint(text, 10, 64)
		return protoreflect.ValueOfUint64(n), err
	case protoreflect.FloatKind:
		n, err := strconv.ParseFloat(text, 32)
		return protoreflect.ValueOfFloat32(float32(n)), err
	case protoreflect.DoubleKind:
		n, err := strconv.ParseFloat(text, 64)
		return protoreflect.ValueOfFloat64(n), err
	}
	return protoreflect.Value{}, errMessage
}

// decodeBase64 takes both alphabets, with or without padding, as the JSON mapping demands.
func decodeBase64(text string) ([]byte, error) {
	encoding := base64.RawStdEncoding
	if strings.ContainsAny(text, "-_") {
		encoding = base64.RawURLEncoding
	}
	return encoding.DecodeString(strings.TrimRight(text, "="))
}

// setMask fills a FieldMask from its comma-separated text. The JSON mapping knows camelCase
// only; Google's servers take the proto's names as well, and "*".
func setMask(m protoreflect.Message, text string) {
	paths := m.Mutable(m.Descriptor().Fields().ByName("paths")).List()
	for path := range strings.SplitSeq(text, ",") {
		if path = strings.TrimSpace(path); path != "" {
			paths.Append(protoreflect.ValueOfString(snakeCase(path)))
		}
	}
}

// snakeCase leaves alone what is quoted by backticks: those are the keys of maps.
func snakeCase(path string) string {
	var b strings.Builder
	quoted := false
	for _, c := range path {
		if c == '`' {
			quoted = !quoted
		}
		if !quoted && 'A' <= c && c <= 'Z' {
			b.WriteByte('_')
			c = unicode.ToLower(c)
		}
		b.WriteRune(c)
	}
	return b.String()
}

// typeName is how Google's errors name the type of a field.
func typeName(f protoreflect.FieldDescriptor) string {
	switch {
	case f.Message() != nil:
		return "type.googleapis.com/" + string(f.Message().FullName())
	case f.Enum() != nil:
		return "type.googleapis.com/" + string(f.Enum().FullName())
	}
	return fmt.Sprintf("TYPE_%s", strings.ToUpper(f.Kind().String()))
}
