package dispatch

import (
	"encoding/base64"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// base64Codec is one that a user may bring: strings as base64.
type base64Codec struct{}

func (base64Codec) ContentType() string         { return "text/base64" }
func (base64Codec) Handles(t reflect.Type) bool { return t.Kind() == reflect.String }

func (base64Codec) Marshal(message any) ([]byte, error) {
	return []byte(base64.StdEncoding.EncodeToString([]byte(message.(string)))), nil
}

func (base64Codec) Unmarshal(data []byte, target any) error {
	decoded, err := base64.StdEncoding.DecodeString(string(data))
	*target.(*string) = string(decoded)
	return err
}

func TestTheTypeOfAMessagePicksItsCodec(t *testing.T) {
	app := NewApp("shop", Codecs(base64Codec{}))
	s := app.Service("s")
	for name, got := range map[string]string{
		"application/json":     NewTask[welcome](s, "a", From(s)).codec.ContentType(),
		"application/protobuf": NewTask[*wrapperspb.StringValue](s, "b", From(s)).codec.ContentType(),
		"text/base64":          NewEvent[string](s, "c").To(s, "d").codec.ContentType(),
	} {
		if got != name {
			t.Errorf("%s, want %s", got, name)
		}
	}
	call := NewCall[string, *wrapperspb.Int64Value](s, "e", From(s))
	if call.codec.ContentType() != "text/base64" || call.replyCodec.ContentType() != "application/protobuf" {
		t.Errorf("a call's question in %s, its reply in %s", call.codec.ContentType(), call.replyCodec.ContentType())
	}
}

func TestTheContentTypePicksTheReader(t *testing.T) {
	app := NewApp("shop", Codecs(base64Codec{}))
	for _, tt := range []struct{ contentType, want string }{
		{"application/json", "application/json"},
		{"", "application/json"}, // the route's own
		{"application/json; charset=utf-8", "application/json"},
		{"Application/JSON", "application/json"},
		{"application/protobuf", "application/protobuf"},
		{"text/base64", "text/base64"},
		{"application/yaml", ""},
		{"; ;", ""},
	} {
		c, err := app.codecByContentType(tt.contentType, jsonCodec{})
		switch {
		case tt.want == "" && err == nil:
			t.Errorf("%q is read as %s", tt.contentType, c.ContentType())
		case tt.want != "" && (err != nil || c.ContentType() != tt.want):
			t.Errorf("%q: %v, %v; want %s", tt.contentType, c, err, tt.want)
		}
	}
}

func TestProtobufCodec(t *testing.T) {
	data, err := protobufCodec{}.Marshal(wrapperspb.String("hello"))
	if err != nil {
		t.Fatal(err)
	}
	var got *wrapperspb.StringValue
	if err := (protobufCodec{}).Unmarshal(data, &got); err != nil || !proto.Equal(got, wrapperspb.String("hello")) {
		t.Errorf("%v, %v", got, err)
	}
	// A sender that moved to protobuf before its receiver did.
	var w welcome
	if err := (protobufCodec{}).Unmarshal(data, &w); err == nil {
		t.Error("a struct took protobuf")
	}
	var p *welcome
	if err := (protobufCodec{}).Unmarshal(data, &p); err == nil {
		t.Error("a pointer to a struct took protobuf")
	}
}

func TestJSONErrorsHideValues(t *testing.T) {
	var target struct {
		Age  int
		Name string
		Born time.Time
	}
	for _, body := range []string{`{"Age": "4929-secret"}`, `{"Name": 4929}`, `{"Born": "4929-secret"}`, `{"Age": 49.29}`, `{"Age": 4929929292929292929292}`} {
		err := jsonCodec{}.Unmarshal([]byte(body), &target)
		if err == nil {
			t.Fatalf("%s was read", body)
		}
		if strings.Contains(err.Error(), "49") {
			t.Errorf("%s: the error shows the value: %v", body, err)
		}
	}
	if err := (jsonCodec{}).Unmarshal([]byte(`{`), &target); err == nil {
		t.Error("half an object was read")
	}
}

// Whatever arrives must not make the receiver panic.
func FuzzDecode(f *testing.F) {
	f.Add("application/json", "", []byte(`{"To":"ann"}`))
	f.Add("application/protobuf", "https://example.com/schema", []byte{10, 1, 'a'})
	f.Add("application/json; a=b; a=c", "tag:waybill.dev,2026:shop.json/1", []byte("{"))
	f.Add(";", "tag:waybill.dev,2026:/99999999999999999999", []byte(nil))
	f.Add("application/json", "tag:waybill.dev,2026:shop.json/2", []byte("{}"))
	app := NewApp("shop")
	s := app.Service("s")
	asProtobuf := NewTask[*wrapperspb.StringValue](s, "protobuf", From(s))
	asJSON := NewTask[welcome](s, "json", From(s))
	f.Fuzz(func(_ *testing.T, contentType, dataSchema string, body []byte) {
		in := &incoming{contentType, dataSchema, body}
		_, _ = read[*wrapperspb.StringValue](asProtobuf.route, in)
		_, _ = read[welcome](asJSON.route, in)
	})
}
