package schema

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

// Definitions of the largest size, of shapes that are hard on compilers, are answered soon.
func TestLargestDefinitions(t *testing.T) {
	size := MaxDefinitionBytes
	if testing.Short() {
		size /= 8
	}
	fill := func(before, repeated, after string) string {
		return before + strings.Repeat(repeated, (size-len(before)-len(after))/len(repeated)) + after
	}
	numbered := func(before, format, after string) string {
		var b strings.Builder
		b.WriteString(before)
		for i := 1; b.Len() < size-len(after)-2*len(format)-20; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return b.String() + after
	}
	for name, s := range map[string]*pubsubpb.Schema{
		"proto no text":       protoSchema(fill("", "\x83", "")),
		"proto brackets":      protoSchema(fill(`syntax = "proto3"; message A {`, "{", "")),
		"proto messages":      protoSchema(fill("", "message A{", "")),
		"proto quotes":        protoSchema(fill("", `"`, "")),
		"proto quote hides":   protoSchema(fill(`syntax = "proto3"; option java_package = '"'; `, "message A{", "")),
		"proto fields":        protoSchema(numbered(`syntax = "proto3"; message A {`, " int32 f%[1]d = %[1]d;", "}")),
		"proto same fields":   protoSchema(fill(`syntax = "proto3"; message A {`, " int32 f = 1;", "}")),
		"proto nested":        protoSchema(numbered(`syntax = "proto3"; message A {`, "message M%d {} ", "}")),
		"proto enum":          protoSchema(numbered(`syntax = "proto3"; message A { enum E { Z = 0;`, " V%[1]d = %[1]d;", "} }")),
		"proto reserved":      protoSchema(numbered(`syntax = "proto3"; message A {`, " reserved %d;", "}")),
		"proto comments":      protoSchema(fill(`syntax = "proto3"; message A {`, "/**/", "}")),
		"proto option":        protoSchema(fill(`syntax = "proto3"; option (a) = {`, "a:1 ", "}; message A{}")),
		"Avro brackets":       avroSchema(fill("", "[", "")),
		"Avro union":          avroSchema(numbered(`["null"`, `,{"type":"fixed","name":"F%d","size":1}`, "]")),
		"Avro records":        avroSchema(numbered(`["null"`, `,{"type":"record","name":"R%d","fields":[]}`, "]")),
		"Avro fields":         avroSchema(numbered(`{"type":"record","name":"R","fields":[{"name":"f","type":"int"}`, `,{"name":"f%d","type":"int","default":1}`, "]}")),
		"Avro symbols":        avroSchema(numbered(`{"type":"enum","name":"E","symbols":["S"`, `,"S%d"`, "]}")),
		"Avro chain":          avroSchema(numbered(`{"type":"array","items":[{"type":"record","name":"R0","fields":[]}`, `,{"type":"record","name":"R%d","fields":[{"name":"a","type":["null","R0"]}]}`, "]}")),
		"Avro default":        avroSchema(fill(`{"type":"record","name":"R","fields":[{"name":"f","type":{"type":"array","items":"int"},"default":[1`, ",1", "]}]}")),
		"Avro long name":      avroSchema(fill(`{"type":"fixed","size":1,"name":"a`, "a", `"}`)),
		"Avro long namespace": avroSchema(fill(`{"type":"fixed","size":1,"name":"a`, ".a", `"}`)),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			c, err := Compile(t.Context(), s)
			compiled := time.Since(start)
			if err == nil {
				_ = c.Validate([]byte(strings.Repeat("[", 1_000_000)), pubsubpb.Encoding_JSON)
				_ = c.Validate(make([]byte, 1_000_000), pubsubpb.Encoding_BINARY)
				_ = c.Revise(c)
			}
			took := time.Since(start)
			t.Logf("%v, %v, compiles: %v", compiled, took, err == nil)
			if took > slow {
				t.Errorf("took %v", took)
			}
			if err != nil && len(err.Error()) > 2000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
		})
	}
}
