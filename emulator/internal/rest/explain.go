package rest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// explain says why a body was refused, in the words of Google's servers and for every field
// that is wrong. It runs only after protojson has failed, whose own texts are unstable on
// purpose and stop at the first problem; protojson still judges each single value.
func explain(message protoreflect.Message, body []byte, cause error) error {
	var syntax any
	if err := json.Unmarshal(body, &syntax); err != nil {
		return invalidf("Invalid JSON payload received. %s.", clip(err.Error()))
	}
	var problems violations
	if firstByte(body) != '{' {
		problems.unknownName("", "Root element must be a message.")
	} else {
		problems.explainMessage("", message.New(), body)
	}
	if err := problems.err(); err != nil {
		return err
	}
	text := strings.ReplaceAll(cause.Error(), "\u00a0", " ")
	return invalidf("Invalid JSON payload received. %s.", clip(strings.TrimPrefix(text, "proto: ")))
}

func (v *violations) explainMessage(path string, message protoreflect.Message, object json.RawMessage) {
	seen := make(map[protoreflect.FieldNumber]bool)
	for name, value := range members(object) {
		f := fieldNamed(message.Descriptor(), name)
		switch {
		case f == nil:
			v.unknownNameAt(path, name, "Cannot find field.")
		case seen[f.Number()]:
			v.unknownNameAt(path, name, "The field is given twice.")
		default:
			seen[f.Number()] = true
			v.explainField(path, message, f, name, value)
		}
		if len(*v) == maxViolations {
			return
		}
	}
}

func (v *violations) explainField(parent string, message protoreflect.Message, f protoreflect.FieldDescriptor, name string, value json.RawMessage) {
	path := string(f.Name())
	if parent != "" {
		path = parent + "." + path
	}
	structured := f.Message() != nil && !f.IsMap() && f.Message().ParentFile().Package() != "google.protobuf"
	kind := firstByte(value)
	switch {
	case string(value) == "null":
	case f.IsList() && kind == '[':
		for i, element := range elements(value) {
			at := fmt.Sprintf("%s[%d]", path, i)
			if structured && firstByte(element) == '{' {
				v.explainMessage(at, message.NewField(f).List().NewElement().Message(), element)
			} else if !accepts(message, f, "["+string(element)+"]") {
				v.invalidValue(at, f, string(element))
			}
			if len(*v) == maxViolations {
				return
			}
		}
	case kind == '[' && f.Message() == nil:
		v.unknownNameAt(parent, name, "Proto field is not repeating, cannot start list.")
	case structured && !f.IsList() && kind == '{':
		v.explainMessage(path, message.NewField(f).Message(), value)
	case !accepts(message, f, string(value)):
		v.invalidValue(path, f, string(value))
	}
}

// accepts asks protojson about one field alone.
func accepts(message protoreflect.Message, f protoreflect.FieldDescriptor, value string) bool {
	object := "{" + quote(f.JSONName()) + ":" + value + "}"
	return protojson.UnmarshalOptions{AllowPartial: true}.Unmarshal([]byte(object), message.New().Interface()) == nil
}

func firstByte(value []byte) byte {
	if value = bytes.TrimLeft(value, " \t\r\n"); len(value) > 0 {
		return value[0]
	}
	return 0
}

// members are those of a valid JSON object, in their order.
func members(object []byte) func(yield func(string, json.RawMessage) bool) {
	return func(yield func(string, json.RawMessage) bool) {
		decoder := json.NewDecoder(bytes.NewReader(object))
		if _, err := decoder.Token(); err != nil {
			return
		}
		for decoder.More() {
			token, err := decoder.Token()
			name, ok := token.(string)
			var value json.RawMessage
			if err != nil || !ok || decoder.Decode(&value) != nil || !yield(name, value) {
				return
			}
		}
	}
}

// elements are those of a valid JSON array.
func elements(array []byte) func(yield func(int, json.RawMessage) bool) {
	return func(yield func(int, json.RawMessage) bool) {
		decoder := json.NewDecoder(bytes.NewReader(array))
		if _, err := decoder.Token(); err != nil {
			return
		}
		for i := 0; decoder.More(); i++ {
			var value json.RawMessage
			if decoder.Decode(&value) != nil || !yield(i, value) {
				return
			}
		}
	}
}
