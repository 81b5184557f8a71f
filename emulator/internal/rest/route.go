package rest

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A route is one binding of a method: how a request becomes its message.
type route struct {
	fullMethod string // "/package.Service/Method"
	method     grpc.MethodHandler
	impl       any

	variables []boundVariable
	body      bodyKind
	bodyField protoreflect.FieldDescriptor // of a fieldBody
	mask      protoreflect.FieldDescriptor // a FieldMask of the request itself, or nil

	raw   *RawMethod // instead of all but fullMethod
	names []variable // of a raw method's path
}

type boundVariable struct {
	variable
	fields fieldPath
}

type bodyKind int

const (
	noBody    bodyKind = iota
	wholeBody          // the body is the request, but for what the path holds
	fieldBody          // the body is one message field of the request
)

// bind adds a route for the rule and for each of its additional bindings.
func (r *router) bind(method protoreflect.MethodDescriptor, rule *annotations.HttpRule, base route) error {
	rules := append([]*annotations.HttpRule{rule}, rule.GetAdditionalBindings()...)
	for _, rule := range rules {
		verb, path := pattern(rule)
		if path == "" {
			return errors.New("an http rule without a pattern")
		}
		t, err := parseTemplate(path)
		if err != nil {
			return err
		}
		rt := base
		if err := rt.compile(method.Input(), t, rule); err != nil {
			return fmt.Errorf("path template %q: %w", path, err)
		}
		if err := r.add(t, verb, &rt); err != nil {
			return fmt.Errorf("path template %q: %w", path, err)
		}
	}
	return nil
}

func pattern(rule *annotations.HttpRule) (method, path string) {
	switch p := rule.GetPattern().(type) {
	case *annotations.HttpRule_Get:
		return http.MethodGet, p.Get
	case *annotations.HttpRule_Put:
		return http.MethodPut, p.Put
	case *annotations.HttpRule_Post:
		return http.MethodPost, p.Post
	case *annotations.HttpRule_Delete:
		return http.MethodDelete, p.Delete
	case *annotations.HttpRule_Patch:
		return http.MethodPatch, p.Patch
	case *annotations.HttpRule_Custom:
		return p.Custom.GetKind(), p.Custom.GetPath()
	}
	return "", ""
}

func (rt *route) compile(input protoreflect.MessageDescriptor, t template, rule *annotations.HttpRule) error {
	if rule.GetResponseBody() != "" {
		return errors.New("response_body is not supported")
	}
	for _, v := range t.variables {
		fields, err := resolve(input, v.field)
		if err != nil {
			return err
		}
		if leaf := fields.leaf(); leaf.IsList() || leaf.Message() != nil {
			return fmt.Errorf("variable %s is not a single value", v.field)
		}
		rt.variables = append(rt.variables, boundVariable{v, fields})
	}
	switch name := rule.GetBody(); name {
	case "":
	case "*":
		rt.body = wholeBody
		rt.mask = maskOf(input)
	default:
		rt.body = fieldBody
		rt.bodyField = input.Fields().ByName(protoreflect.Name(name))
		if rt.bodyField == nil || rt.bodyField.Message() == nil || rt.bodyField.IsList() || rt.bodyField.IsMap() {
			return fmt.Errorf("body %q is not a message field of %s", name, input.FullName())
		}
	}
	return nil
}

func maskOf(message protoreflect.MessageDescriptor) protoreflect.FieldDescriptor {
	fields := message.Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); f.Message() != nil && f.Message().FullName() == fieldMaskName && !f.IsList() && !f.IsMap() {
			return f
		}
	}
	return nil
}

// A fieldPath leads from a message to a field of it or of a message in it.
type fieldPath []protoreflect.FieldDescriptor

func (p fieldPath) leaf() protoreflect.FieldDescriptor { return p[len(p)-1] }

// String is the path by the proto's names, as Google's errors write it.
func (p fieldPath) String() string {
	names := make([]string, len(p))
	for i, f := range p {
		names[i] = string(f.Name())
	}
	return strings.Join(names, ".")
}

// parent is the message that holds the leaf, created where it is missing.
func (p fieldPath) parent(m protoreflect.Message) protoreflect.Message {
	for _, f := range p[:len(p)-1] {
		m = m.Mutable(f).Message()
	}
	return m
}

// resolve follows a dotted path by the names of the proto or of its JSON.
func resolve(message protoreflect.MessageDescriptor, path string) (fieldPath, error) {
	var fields fieldPath
	for name := range strings.SplitSeq(path, ".") {
		if message == nil {
			return nil, errNoField
		}
		f := fieldNamed(message, name)
		if f == nil {
			return nil, errNoField
		}
		fields = append(fields, f)
		message = nil
		if !f.IsList() && !f.IsMap() {
			message = f.Message()
		}
	}
	return fields, nil
}

var errNoField = errors.New("field could not be found in request message")

func fieldNamed(message protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if f := message.Fields().ByJSONName(name); f != nil {
		return f
	}
	return message.Fields().ByName(protoreflect.Name(name))
}
