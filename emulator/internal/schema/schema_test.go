package schema

import (
	"errors"
	"strings"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func avroSchema(definition string) *pubsubpb.Schema {
	return &pubsubpb.Schema{Type: pubsubpb.Schema_AVRO, Definition: definition}
}

func protoSchema(definition string) *pubsubpb.Schema {
	return &pubsubpb.Schema{Type: pubsubpb.Schema_PROTOCOL_BUFFER, Definition: definition}
}

func mustCompile(t *testing.T, s *pubsubpb.Schema) *Compiled {
	t.Helper()
	c, err := Compile(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// person has one of each kind of type.
const person = `{"type":"record","name":"Person","namespace":"test","doc":"x","fields":[
	{"name":"name","type":"string"},
	{"name":"age","type":["null","int"],"default":null},
	{"name":"id","type":{"type":"fixed","name":"ID","size":2}},
	{"name":"color","type":{"type":"enum","name":"Color","symbols":["RED","GREEN"]},"default":"RED"},
	{"name":"tags","type":{"type":"array","items":"string"}},
	{"name":"counts","type":{"type":"map","values":"long"}},
	{"name":"when","type":{"type":"long","logicalType":"timestamp-millis"}},
	{"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":1000000000,"scale":1000000000}},
	{"name":"ratio","type":"double"},{"name":"half","type":"float"},{"name":"ok","type":"boolean"},
	{"name":"friend","type":["null","Person"],"default":null}]}`

const personText = `{"name":"a","age":{"int":3},"id":"\u0001\u0002","color":"GREEN","tags":["x"],"counts":{"k":1},` +
	`"when":5,"price":"\u0001","ratio":1.5,"half":0.5,"ok":true,"friend":null}`

const personBinary = "\x02a\x02\x06\x01\x02\x02\x02\x02x\x00\x02\x02k\x02\x00\x0a\x02\x01\x00\x00\x00\x00\x00\x00\xf8\x3f\x00\x00\x00\x3f\x01\x00"

func TestAvroMessages(t *testing.T) {
	c := mustCompile(t, avroSchema(person))
	for name, test := range map[string]struct {
		data     string
		encoding pubsubpb.Encoding
		want     string // a part of the error, "" for a valid message
	}{
		"JSON":                     {personText, pubsubpb.Encoding_JSON, ""},
		"JSON with space":          {"\n " + personText + " \n", pubsubpb.Encoding_JSON, ""},
		"JSON, wrong type":         {strings.Replace(personText, `"a"`, "1", 1), pubsubpb.Encoding_JSON, "name"},
		"JSON, union without name": {strings.Replace(personText, `{"int":3}`, "3", 1), pubsubpb.Encoding_JSON, "age"},
		"JSON, fraction as an int": {strings.Replace(personText, `{"int":3}`, `{"int":3.5}`, 1), pubsubpb.Encoding_JSON, "age"},
		"JSON, unknown symbol":     {strings.Replace(personText, "GREEN", "BLUE", 1), pubsubpb.Encoding_JSON, "BLUE"},
		"JSON, a field too few":    {strings.Replace(personText, `,"friend":null`, "", 1), pubsubpb.Encoding_JSON, "11 of 12 fields"},
		"JSON, a field too many":   {strings.Replace(personText, `"ok":`, `"more":1,"ok":`, 1), pubsubpb.Encoding_JSON, "more"},
		"JSON, more behind":        {personText + "{}", pubsubpb.Encoding_JSON, "Too much data"},
		"JSON, cut off":            {personText[:40], pubsubpb.Encoding_JSON, "short"},
		"JSON, empty":              {"", pubsubpb.Encoding_JSON, "short"},
		"JSON as binary":           {personText, pubsubpb.Encoding_BINARY, "data"},
		"binary":                   {personBinary, pubsubpb.Encoding_BINARY, ""},
		"binary, friend":           {personBinary[:len(personBinary)-1] + "\x02" + personBinary, pubsubpb.Encoding_BINARY, ""},
		"binary, more behind":      {personBinary + "\x00", pubsubpb.Encoding_BINARY, "Too much data to parse for schema."},
		"binary, cut off":          {personBinary[:10], pubsubpb.Encoding_BINARY, "Too little data"},
		"binary, no such branch":   {"\x02a\x08" + personBinary[3:], pubsubpb.Encoding_BINARY, "branch 4"},
		"binary, no such symbol":   {strings.Replace(personBinary, "\x01\x02\x02\x02\x02x", "\x01\x02\x0a\x02\x02x", 1), pubsubpb.Encoding_BINARY, "enum"},
		"no encoding":              {personBinary, pubsubpb.Encoding_ENCODING_UNSPECIFIED, "encoding"},
	} {
		t.Run(name, func(t *testing.T) { checkError(t, c.Validate([]byte(test.data), test.encoding), test.want) })
	}
}

func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("err %v, want none", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("err %v, want one with %q", err, want)
	}
}

const note = `syntax = "proto3"; package p;
message Note { string text = 1; int64 count = 2; repeated string tags = 3; map<string, int32> m = 4; Kind kind = 5; Note child = 6;
	message Inner { bool ok = 1; } Inner inner = 7; enum Kind { NONE = 0; BIG = 1; } }`

func TestProtoMessages(t *testing.T) {
	c := mustCompile(t, protoSchema(note))
	required := mustCompile(t, protoSchema(`syntax = "proto2"; message M { required int32 a = 1; optional int32 b = 2; }`))
	for name, test := range map[string]struct {
		schema   *Compiled
		data     string
		encoding pubsubpb.Encoding
		want     string
	}{
		"JSON":                    {c, `{"text":"a","count":"3","tags":["x"],"m":{"k":1},"kind":"BIG","child":{"inner":{"ok":true}}}`, pubsubpb.Encoding_JSON, ""},
		"JSON, unknown field":     {c, `{"nothing":1}`, pubsubpb.Encoding_JSON, "nothing"},
		"JSON, wrong type":        {c, `{"text":1}`, pubsubpb.Encoding_JSON, "text"},
		"JSON, too deep":          {c, strings.Repeat(`{"child":`, 300) + "{}" + strings.Repeat("}", 300), pubsubpb.Encoding_JSON, "recursion"},
		"binary":                  {c, "\x0a\x01a\x10\x03", pubsubpb.Encoding_BINARY, ""},
		"binary, unknown field":   {c, "\x78\x01", pubsubpb.Encoding_BINARY, ""},
		"binary, cut off":         {c, "\x0a\x05a", pubsubpb.Encoding_BINARY, "wire-format"},
		"binary, invalid UTF-8":   {c, "\x0a\x01\xff", pubsubpb.Encoding_BINARY, "UTF-8"},
		"binary, empty":           {c, "", pubsubpb.Encoding_BINARY, ""},
		"no encoding":             {c, "", pubsubpb.Encoding_ENCODING_UNSPECIFIED, "encoding"},
		"proto2":                  {required, "\x08\x01", pubsubpb.Encoding_BINARY, ""},
		"proto2, missing":         {required, "", pubsubpb.Encoding_BINARY, "required"},
		"proto2, missing in JSON": {required, `{"b":1}`, pubsubpb.Encoding_JSON, "required"},
	} {
		t.Run(name, func(t *testing.T) { checkError(t, test.schema.Validate([]byte(test.data), test.encoding), test.want) })
	}
}

func TestDefinitions(t *testing.T) {
	big := strings.Repeat(" ", MaxDefinitionBytes)
	for name, test := range map[string]struct {
		schema *pubsubpb.Schema
		want   string
	}{
		"no type":                   {&pubsubpb.Schema{Definition: `"int"`}, "type"},
		"empty":                     {avroSchema(""), "empty"},
		"largest":                   {avroSchema(`"int"` + big[5:]), ""},
		"too large":                 {avroSchema(`"int"` + big), "at most 307200 are allowed"},
		"Avro primitive":            {avroSchema(`"int"`), ""},
		"Avro union":                {avroSchema(`["null","int"]`), ""},
		"Avro not JSON":             {avroSchema(`{`), "not JSON"},
		"Avro number":               {avroSchema(`1`), "a type must be"},
		"Avro unknown type":         {avroSchema(`"integer"`), `"integer" is not known`},
		"Avro no fields":            {avroSchema(`{"type":"record","name":"A"}`), "no fields"},
		"Avro no name":              {avroSchema(`{"type":"record","fields":[]}`), "no name"},
		"Avro wrong name":           {avroSchema(`{"type":"record","name":"1","fields":[]}`), "1"},
		"Avro no type":              {avroSchema(`{"name":"A"}`), "type"},
		"Avro two definitions":      {avroSchema(`[{"type":"fixed","name":"A","size":1},{"type":"fixed","name":"A","size":1}]`), "twice"},
		"Avro two fields":           {avroSchema(`{"type":"record","name":"A","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}`), "another field"},
		"Avro union in a union":     {avroSchema(`["null",["int"]]`), "union"},
		"Avro union of the same":    {avroSchema(`["int","int"]`), "unique"},
		"Avro empty enum":           {avroSchema(`{"type":"enum","name":"A","symbols":[]}`), "symbols"},
		"Avro fixed size":           {avroSchema(`{"type":"fixed","name":"A","size":1.5}`), "size"},
		"Avro default":              {avroSchema(`{"type":"record","name":"A","fields":[{"name":"a","type":"int","default":"x"}]}`), "default"},
		"Avro defaults":             {avroSchema(person), ""},
		"Avro contains itself":      {avroSchema(`{"type":"record","name":"A","fields":[{"name":"a","type":"A"}]}`), "contains itself"},
		"Avro contains it in union": {avroSchema(`{"type":"record","name":"A","fields":[{"name":"a","type":["null","A"]}]}`), ""},
		"Avro name in a namespace":  {avroSchema(`{"type":"record","name":"A","namespace":"x.y","fields":[{"name":"a","type":{"type":"fixed","name":"F","size":1}},{"name":"b","type":"F"},{"name":"c","type":"x.y.F"}]}`), ""},
		"Avro too deep":             {avroSchema(strings.Repeat(`{"type":"array","items":`, 100) + `"int"` + strings.Repeat("}", 100)), "nested 100 deep"},
		"proto":                     {protoSchema(note), ""},
		"proto syntax":              {protoSchema(`message`), "syntax error"},
		"proto import":              {protoSchema(`syntax = "proto3"; import "google/protobuf/timestamp.proto"; message A { google.protobuf.Timestamp t = 1; }`), "import"},
		"proto unused import":       {protoSchema(`syntax = "proto3"; import "x.proto"; message A {}`), "import"},
		"proto no message":          {protoSchema(`syntax = "proto3"; enum E { A = 0; }`), "no message"},
		"proto two messages":        {protoSchema(`syntax = "proto3"; message A {} message B {}`), "2 top-level types"},
		"proto message and enum":    {protoSchema(`syntax = "proto3"; message A {} enum E { X = 0; }`), "2 top-level types"},
		"proto too deep":            {protoSchema(strings.Repeat(`message A {`, 100) + strings.Repeat("}", 100)), "nested 100 deep"},
		"both":                      {&pubsubpb.Schema{Type: pubsubpb.Schema_PROTOCOL_BUFFER, Definition: note, Configuration: &pubsubpb.Schema_CompiledProtoSchema{CompiledProtoSchema: &pubsubpb.CompiledProtoSchema{}}}, "excludes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Compile(t.Context(), test.schema)
			checkError(t, err, test.want)
		})
	}
	if _, err := Compile(t.Context(), avroSchema(big+big)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("err %v, want ErrTooLarge", err)
	}
}

// A compiled schema may import what its set holds.
func TestCompiledProtoSchema(t *testing.T) {
	set := &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
		protodesc.ToFileDescriptorProto(descriptorpb.File_google_protobuf_descriptor_proto),
	}}
	raw, err := proto.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	compiled := func(root string, raw []byte) *pubsubpb.Schema {
		return &pubsubpb.Schema{Type: pubsubpb.Schema_PROTOCOL_BUFFER, Configuration: &pubsubpb.Schema_CompiledProtoSchema{
			CompiledProtoSchema: &pubsubpb.CompiledProtoSchema{RootMessage: root, CompiledBytes: raw},
		}}
	}
	c := mustCompile(t, compiled("google.protobuf.FileDescriptorSet", raw))
	checkError(t, c.Validate(raw, pubsubpb.Encoding_BINARY), "")
	checkError(t, c.Validate([]byte(`{"file":[{"name":"a"}]}`), pubsubpb.Encoding_JSON), "")
	checkError(t, c.Validate([]byte(`{"files":[]}`), pubsubpb.Encoding_JSON), "files")
	for want, s := range map[string]*pubsubpb.Schema{
		"cannot be read":      compiled("A", []byte("x")),
		`no message "None"`:   compiled("None", raw),
		"is not a message":    compiled("google.protobuf.Edition", raw),
		"does not fit":        compiled("A", []byte("\x0a\x05\x0a\x01a\x1a\x00")),
		"at most 307200 are ": compiled("A", make([]byte, MaxDefinitionBytes+1)),
	} {
		_, err := Compile(t.Context(), s)
		checkError(t, err, want)
	}
}

// What could make a library hang or run out of memory is refused quickly.
func TestHostileMessages(t *testing.T) {
	array := mustCompile(t, avroSchema(`{"type":"array","items":"null"}`))
	checkError(t, array.Validate([]byte("\xfe\xff\xff\xff\x0f\x00"), pubsubpb.Encoding_BINARY), "Too little data") // 2^31-1 items
	checkError(t, array.Validate([]byte("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), pubsubpb.Encoding_BINARY), "Too little data")

	list := mustCompile(t, avroSchema(`{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}`))
	checkError(t, list.Validate([]byte(strings.Repeat("\x02", 1_000_000)+"\x00"), pubsubpb.Encoding_BINARY), "nested")
	checkError(t, list.Validate([]byte(strings.Repeat(`{"next":{"L":`, 500_000)), pubsubpb.Encoding_JSON), "nested")

	// Each record has the one before twice: 2^40 values of no bytes.
	doubling := `{"type":"record","name":"R0","fields":[]}`
	var fields []string
	for i := range 40 {
		name := string(rune('a'+i%26)) + string(rune('a'+i/26))
		fields = append(fields, `{"name":"`+name+`","type":`+doubling+`}`)
		before := "R" + strings.Repeat("x", i)
		if i == 0 {
			before = "R0"
		}
		doubling = `{"type":"record","name":"R` + strings.Repeat("x", i+1) + `","fields":[{"name":"a","type":"` + before + `"},{"name":"b","type":"` + before + `"}]}`
	}
	fields = append(fields, `{"name":"last","type":`+doubling+`}`)
	bomb := mustCompile(t, avroSchema(`{"type":"record","name":"Bomb","fields":[`+strings.Join(fields, ",")+`]}`))
	checkError(t, bomb.Validate(nil, pubsubpb.Encoding_BINARY), "too many values")
}

func TestHostileDefault(t *testing.T) {
	// A default that fits neither of two branches, each of which asks both again, 30 levels down.
	value := `"x"`
	for range 30 {
		value = `{"f":` + value + `}`
	}
	def := `{"type":"record","name":"T","fields":[{"name":"t","type":[
		{"type":"record","name":"A","fields":[{"name":"f","type":["int","A",{"type":"record","name":"B","fields":[{"name":"f","type":["int","A","B"]}]}]}]},"B"],"default":` + value + `}]}`
	_, err := Compile(t.Context(), avroSchema(def))
	checkError(t, err, "default")
}
