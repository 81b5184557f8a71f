package dispatch

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Version declares the version of a message type's schema: what its routes send, on all three ways. It is for a change that
// decoding alone does not bear; adding a field needs no version. A type without a Version has version 1.
//
//	App = dispatch.NewApp("shop", dispatch.Version(2,
//		dispatch.Accept(1, func(old WelcomeV1) (Welcome, error) { return Welcome{To: old.Address}, nil })))
//
// A receiver takes the current version and, by [Accept], older ones that are still in flight. One that is older and
// not accepted cannot be decoded: a dead letter, or InvalidArgument for a call. One that is newer than the receiver knows is
// tried again, since during a rollout the next attempt may reach an instance that knows it; only its last attempt makes it a
// dead letter. So receivers are rolled out before senders, or with them.
//
// The version travels as the CloudEvents attribute dataschema, tag:waybill.dev,2026:TYPE/VERSION, unless it is 1. A message
// without that attribute, or with a dataschema of somebody else's, counts as version 1. The reply of a call has no version: its
// caller is of whatever build the question came from.
func Version[M any](current int, accepted ...AcceptOption[M]) AppOption {
	return versionOption{message: reflect.TypeFor[M](), current: current, accepted: erase(accepted)}
}

// AcceptOption is an option of [Version] for messages of type M: [Accept].
type AcceptOption[M any] struct {
	version int
	read    func(unmarshal func(target any) error) (M, error)
}

// Accept declares how a message of an older version becomes one of the current. The error of upgrade means that the
// message cannot be decoded.
func Accept[Old, M any](version int, upgrade func(old Old) (M, error)) AcceptOption[M] {
	o := AcceptOption[M]{version: version}
	if upgrade == nil {
		return o
	}
	o.read = func(unmarshal func(any) error) (message M, err error) {
		var old Old
		if err := unmarshal(&old); err != nil {
			return message, err
		}
		return upgrade(old)
	}
	return o
}

// schema is the version of a message type, and how to read older ones.
type schema struct {
	message reflect.Type
	current int
	older   map[int]any // by version: an AcceptOption[M].read of this type
	used    bool        // some route carries the type
}

type versionOption struct {
	message  reflect.Type
	current  int
	accepted []erased
}

// erased is an AcceptOption whose M its schema's type stands for.
type erased struct {
	version int
	read    any // nil if there was no function
}

func erase[M any](options []AcceptOption[M]) []erased {
	list := make([]erased, len(options))
	for i, o := range options {
		list[i].version = o.version
		if o.read != nil {
			list[i].read = o.read
		}
	}
	return list
}

func (o versionOption) applyApp(a *App) {
	p := func(format string, args ...any) {
		a.problems = append(a.problems, fmt.Errorf("dispatch.Version of %s: %w", o.message, fmt.Errorf(format, args...)))
	}
	if o.current < 1 {
		p("the version is %d; versions count from 1", o.current)
	}
	if _, twice := a.schemas[o.message]; twice {
		p("it is declared twice; declare it once, with every Accept")
		return
	}
	s := &schema{message: o.message, current: o.current, older: map[int]any{}}
	a.schemas[o.message] = s
	for _, old := range o.accepted {
		_, twice := s.older[old.version]
		switch {
		case old.version < 1 || old.version >= o.current:
			p("dispatch.Accept(%d): it takes versions before the current one, %d", old.version, o.current)
		case old.read == nil:
			p("dispatch.Accept(%d) got no function; pass one that makes a message of the current version", old.version)
		case twice:
			p("dispatch.Accept(%d) is there twice; keep one", old.version)
		default:
			s.older[old.version] = old.read
		}
	}
}

// unusedSchemas finds versions of types that no route carries, which are likely meant for another type.
func (a *App) unusedSchemas() []error {
	var problems []error
	for _, s := range a.schemas {
		if !s.used {
			problems = append(problems, fmt.Errorf("dispatch.Version of %s: no route carries this type; give it the type that the routes are declared with, or remove it", s.message))
		}
	}
	slices.SortFunc(problems, func(x, y error) int { return strings.Compare(x.Error(), y.Error()) })
	return problems
}

// schemaTag begins a dataschema of Waybill's: a tag URI (RFC 4151), as the attribute must be a URI and there is nothing to fetch.
const schemaTag = "tag:waybill.dev,2026:"

// dataSchema is what the route's messages carry; empty for version 1.
func (r *route) dataSchema() string {
	if r.schema == nil || r.schema.current <= 1 {
		return ""
	}
	return schemaTag + r.ceType + "/" + strconv.Itoa(r.schema.current)
}

// versionOf reads a message's version from its dataschema.
func versionOf(dataSchema string) int {
	rest, ours := strings.CutPrefix(dataSchema, schemaTag)
	if !ours {
		return 1
	}
	n, err := strconv.Atoi(rest[strings.LastIndexByte(rest, '/')+1:])
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// errNewer marks a message of a version that this build does not know yet.
var errNewer = errors.New("the message is newer than this build")

// read decodes a message of whatever version it is.
func read[M any](r *route, in *incoming) (message M, err error) {
	version, current := 1, 1
	if in.dataSchema != "" {
		version = versionOf(in.dataSchema)
	}
	if r.schema != nil {
		current = r.schema.current
	}
	switch {
	case version == current:
		err = r.decode(in, &message)
		return message, err
	case version > current:
		return message, fmt.Errorf("%w: it is of version %d, and version %d is declared here; roll out the receiver, it will be tried again", errNewer, version, current)
	}
	upgrade, ok := r.schema.older[version].(func(func(any) error) (M, error))
	if !ok {
		return message, fmt.Errorf("the message is of version %d, and %s takes version %d; add dispatch.Accept(%[1]d, ...) to its dispatch.Version to read what is still in flight", version, r, current)
	}
	message, err = upgrade(func(target any) error { return r.decode(in, target) })
	if err != nil {
		err = fmt.Errorf("version %d of the message: %w", version, err)
	}
	return message, err
}
