package schema

import (
	"context"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

// slow is far above what any definition or message takes, and far below what a hang does.
const slow = 20 * time.Second

func watch(t *testing.T, what string) func() {
	start := time.Now()
	return func() {
		if took := time.Since(start); took > slow {
			t.Errorf("%s took %v", what, took)
		}
	}
}

// FuzzAvro looks for definitions and messages that make the compiler or the decoder panic or hang.
func FuzzAvro(f *testing.F) {
	f.Add(person, []byte(personText))
	f.Add(person, []byte(personBinary))
	f.Add(`{"type":"array","items":"null"}`, []byte("\xfe\xff\xff\xff\x0f\x00"))
	f.Add(`{"type":"bytes","logicalType":"decimal","precision":"x"}`, []byte("\x02\x01"))
	f.Add(`{"type":"record","name":"A","fields":[{"name":"a","type":["null","A"],"default":null}]}`, []byte("\x02\x02\x00"))
	f.Add(`[{"type":"enum","name":"E","symbols":["A"],"default":"A"},{"type":"fixed","name":"F","size":3}]`, []byte(`{"E":"A"}`))
	f.Fuzz(func(t *testing.T, definition string, message []byte) {
		defer watch(t, "Avro")()
		fuzz(t.Context(), avroSchema(definition), message)
	})
}

// FuzzProto does the same for protocol buffers.
func FuzzProto(f *testing.F) {
	f.Add(note, []byte(`{"text":"a","child":{}}`))
	f.Add(note, []byte("\x0a\x01a\x32\x02\x10\x01"))
	f.Add(`syntax = "proto2"; message M { extensions 1 to 5; oneof x { int32 a = 6; } optional group G = 7 { } }`, []byte("\x3b\x3c"))
	f.Add(`edition = "2023"; message M { string s = 1 [features.field_presence = EXPLICIT]; }`, []byte("\x0a\x00"))
	f.Add(`syntax = "proto3"; option java_package = "x"; message M { reserved 1 to max; }`, []byte(""))
	f.Fuzz(func(t *testing.T, definition string, message []byte) {
		defer watch(t, "protocol buffers")()
		fuzz(t.Context(), protoSchema(definition), message)
	})
}

func fuzz(ctx context.Context, s *pubsubpb.Schema, message []byte) {
	c, err := Compile(ctx, s)
	if err != nil {
		return
	}
	_ = c.Validate(message, pubsubpb.Encoding_JSON)
	_ = c.Validate(message, pubsubpb.Encoding_BINARY)
	_ = c.Revise(c)
}
