package dispatch

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"reflect"
	"strings"

	"google.golang.org/protobuf/proto"
)

// Codec writes and reads messages. JSON and protobuf are built in: a proto.Message travels as protobuf,
// everything else as JSON. [Codecs] brings others.
//
// Receivers choose the codec by the content type that came with the message, so a sender may change its codec
// while messages are in flight, as long as the receiver knows both.
//
// A Codec is used by several goroutines at once.
type Codec interface {
	// ContentType is the media type on the wire, without parameters.
	ContentType() string
	// Handles reports whether messages of this type travel in this codec.
	Handles(t reflect.Type) bool
	// Marshal writes a message.
	Marshal(message any) ([]byte, error)
	// Unmarshal reads a message into the value that target, a pointer, points to.
	Unmarshal(data []byte, target any) error
}

// Codecs adds codecs to an app. The first that handles a message's type writes it; protobuf and JSON come last.
func Codecs(codecs ...Codec) AppOption { return codecsOption(codecs) }

type codecsOption []Codec

func (o codecsOption) applyApp(a *App) { a.codecs = append(a.codecs, o...) }

// codecFor picks the codec that writes messages of type M. JSON handles everything, so there always is one.
func codecFor[M any](codecs []Codec) Codec {
	t := reflect.TypeFor[M]()
	for _, c := range codecs {
		if c.Handles(t) {
			return c
		}
	}
	return jsonCodec{}
}

// codecByContentType finds the codec that reads a body. preferred, the route's own, is tried first; it nearly always is
// the one, and it is for whatever comes without a content type, such as an event that somebody published by hand.
func (a *App) codecByContentType(contentType string, preferred Codec) (Codec, error) {
	if contentType == preferred.ContentType() || contentType == "" {
		return preferred, nil
	}
	mediaType, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, fmt.Errorf("the content type %q cannot be read: %w", contentType, err)
	}
	if mediaType == preferred.ContentType() {
		return preferred, nil
	}
	for _, c := range a.codecs {
		if c.ContentType() == mediaType {
			return c, nil
		}
	}
	return nil, fmt.Errorf("no codec reads the content type %q; send application/json or application/protobuf, or add one with dispatch.Codecs", mediaType)
}

type jsonCodec struct{}

func (jsonCodec) ContentType() string                 { return "application/json" }
func (jsonCodec) Handles(reflect.Type) bool           { return true }
func (jsonCodec) Marshal(message any) ([]byte, error) { return json.Marshal(message) }

// Unmarshal names the field that does not fit, but never its value: errors reach logs, payloads must not.
func (jsonCodec) Unmarshal(data []byte, target any) error {
	err := json.Unmarshal(data, target)
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		found, _, _ := strings.Cut(mismatch.Value, " ") // "number 7" without the 7
		return fmt.Errorf("json: a %s stands where field %q takes a %s", found, mismatch.Field, mismatch.Type)
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); err == nil || ok {
		return err
	}
	return errors.New("json: a value is not of its field's type") // a type's own UnmarshalJSON may quote what it got
}

type protobufCodec struct{}

func (protobufCodec) ContentType() string { return "application/protobuf" }

func (protobufCodec) Handles(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer && t.Implements(reflect.TypeFor[proto.Message]())
}

func (protobufCodec) Marshal(message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no proto.Message", message)
	}
	return proto.Marshal(m)
}

// Unmarshal gets a pointer to a message's pointer, **T, and makes the T.
func (protobufCodec) Unmarshal(data []byte, target any) error {
	pointer := reflect.ValueOf(target).Elem()
	if pointer.Kind() != reflect.Pointer {
		return fmt.Errorf("a %s cannot hold protobuf; send it in the content type of its declaration", pointer.Type())
	}
	if pointer.IsNil() {
		pointer.Set(reflect.New(pointer.Type().Elem()))
	}
	m, ok := reflect.TypeAssert[proto.Message](pointer)
	if !ok {
		return fmt.Errorf("a %s cannot hold protobuf; send it in the content type of its declaration", pointer.Type())
	}
	return proto.Unmarshal(data, m)
}
