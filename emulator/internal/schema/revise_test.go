package schema

import (
	"strings"
	"testing"
)

func TestAvroRevisions(t *testing.T) {
	record := func(fields string) string { return `{"type":"record","name":"A","fields":[` + fields + `]}` }
	const a, b = `{"name":"a","type":"int"}`, `{"name":"b","type":"int","default":0}`
	for name, test := range map[string]struct{ before, after, want string }{
		"same":                    {person, person, ""},
		"optional field added":    {record(a), record(a + "," + b), ""},
		"optional field removed":  {record(a + "," + b), record(a), ""},
		"field added":             {record(a), record(a + `,{"name":"b","type":"int"}`), "A.b: the field is missing and has no default"},
		"field removed":           {record(a + `,{"name":"b","type":"int"}`), record(a), "A.b"},
		"field renamed":           {record(a), record(`{"name":"c","type":"int","default":0,"aliases":["a"]}`), "A.a"},
		"type changed":            {record(a), record(`{"name":"a","type":"string"}`), "int cannot be read as string"},
		"type widened":            {record(a), record(`{"name":"a","type":"long"}`), "long cannot be read as int"},
		"string and bytes":        {`"string"`, `"bytes"`, ""},
		"name changed":            {record(a), strings.Replace(record(a), `"A"`, `"B"`, 1), "the record A is not B"},
		"namespace changed":       {record(a), strings.Replace(record(a), `"A"`, `"x.A"`, 1), ""},
		"branch added":            {`["null","int"]`, `["null","int","string"]`, "no branch of the union takes string"},
		"symbol added":            {`{"type":"enum","name":"E","symbols":["A"]}`, `{"type":"enum","name":"E","symbols":["A","B"]}`, "symbol B is missing"},
		"symbol with a fallback":  {`{"type":"enum","name":"E","symbols":["A"],"default":"A"}`, `{"type":"enum","name":"E","symbols":["A","B"]}`, ""},
		"enum renamed":            {`{"type":"enum","name":"E","symbols":["A"]}`, `{"type":"enum","name":"F","symbols":["A"]}`, "is not F"},
		"fixed of another size":   {`{"type":"fixed","name":"F","size":1}`, `{"type":"fixed","name":"F","size":2}`, "2 bytes"},
		"items changed":           {`{"type":"array","items":"int"}`, `{"type":"array","items":"string"}`, "array[]"},
		"values changed":          {`{"type":"map","values":"int"}`, `{"type":"map","values":"string"}`, "map[]"},
		"recursive field changed": {strings.Replace(person, `"age","type":["null","int"]`, `"age","type":["null","long"]`, 1), person, "age"},
	} {
		t.Run(name, func(t *testing.T) {
			checkError(t, mustCompile(t, avroSchema(test.before)).Revise(mustCompile(t, avroSchema(test.after))), test.want)
		})
	}
}

func TestProtoRevisions(t *testing.T) {
	message := func(fields string) string { return `syntax = "proto2"; message M { ` + fields + ` }` }
	const a = "optional int32 a = 1;"
	for name, test := range map[string]struct{ before, after, want string }{
		"same":                   {note, note, ""},
		"optional field added":   {message(a), message(a + "optional string b = 2;"), ""},
		"optional field removed": {message(a + "optional string b = 2;"), message(a), ""},
		"required field added":   {message(a), message(a + "required string b = 2;"), "cannot be added"},
		"required field removed": {message(a + "required string b = 2;"), message(a), "cannot be removed"},
		"repeated field added":   {message(a), message(a + "repeated string b = 2;"), "cannot be added"},
		"type changed":           {message(a), message("optional int64 a = 1;"), "cannot be changed"},
		"name changed":           {message(a), message("optional int32 b = 1;"), "cannot be changed"},
		"number changed":         {message("required int32 a = 1;"), message("required int32 a = 2;"), "cannot be removed"},
		"message renamed":        {message(a), strings.Replace(message(a), "M", "N", 1), "cannot become N"},
		"inner field changed":    {note, strings.Replace(note, "bool ok = 1", "int32 ok = 1", 1), "p.Note.Inner.ok"},
		"enum value added":       {note, strings.Replace(note, "BIG = 1;", "BIG = 1; HUGE = 2;", 1), ""},
		"enum value removed":     {note, strings.Replace(note, "BIG = 1;", "", 1), "BIG"},
		"enum renamed":           {note, strings.ReplaceAll(note, "Kind", "Sort"), "cannot become"},
	} {
		t.Run(name, func(t *testing.T) {
			checkError(t, mustCompile(t, protoSchema(test.before)).Revise(mustCompile(t, protoSchema(test.after))), test.want)
		})
	}
}

func TestTypeOfASchemaStays(t *testing.T) {
	a, p := mustCompile(t, avroSchema(`"int"`)), mustCompile(t, protoSchema(note))
	checkError(t, a.Revise(p), "cannot be changed from AVRO to PROTOCOL_BUFFER")
	checkError(t, p.Revise(a), "cannot be changed from PROTOCOL_BUFFER to AVRO")
}
