// Package schema compiles the schemas of Pub/Sub, checks messages against them, and decides
// whether one definition may follow another as a revision.
//
// # Usage
//
//	compiled, err := schema.Compile(ctx, &pubsubpb.Schema{Type: pubsubpb.Schema_AVRO, Definition: `{"type":"record",...}`})
//	err = compiled.Validate(message.Data, pubsubpb.Encoding_JSON)
//	err = compiled.Revise(next)
//
// # What the service does, and its source
//
// From https://cloud.google.com/pubsub/docs/schemas and .../commit-schema-revision: a definition has
// at most 300 KB and exactly one top-level type, imports are not supported; a revision of an Avro
// schema must be able to read what the other wrote and the other way round (the rules of schema
// resolution of the Avro specification); a revision of a protocol buffer schema may add and remove
// optional fields, and change nothing else. What "optional" means for repeated fields and maps is
// not confirmed: they are taken not to be.
//
// # Avro
//
// Messages and definitions are read by github.com/linkedin/goavro/v2. Of the two libraries that
// were at hand, github.com/hamba/avro/v2 is the faster one, but it was archived by its maintainer
// in January 2026, and it has no decoder of Avro's JSON encoding, which is half of what is needed
// here; goavro has both encodings and is maintained.
//
// goavro trusts its input in ways that a server must not: it reserves memory for as many array items
// as a message claims, recurses as deep as a message asks it to, and computes powers of ten for
// decimals. So a definition is first read into a tree of our own, goavro gets the essentials of that
// (without logical types, which do not change an encoding, defaults and documentation), and a
// binary message is first walked along the tree within bounds. The tree also answers [Compiled.Revise].
//
// Every field must be there in a JSON message, defaults or not, as the specification's JSON
// encoding has it; a field that the schema does not have is refused. The latter is not confirmed.
//
// # Protocol buffers
//
// Definitions are compiled by github.com/bufbuild/protocompile, without any imports, well-known types
// included; messages are read by dynamicpb with proto and protojson. Fields that the schema does not
// have are accepted in the binary encoding, as a protocol buffer parser does, and refused in JSON.
// A compiled_proto_schema (a FileDescriptorSet and the root message's name) may hold several files.
//
// # Limits
//
// Beside the definition's size there are bounds that the service does not document, so that nothing
// can hang or exhaust memory: see the constants of this package. They are far from what is written by
// hand. An array whose items take no bytes may hold no more of them than the message has bytes.
//
// # Concurrency
//
// A [Compiled] does not change and is safe for concurrent use. Nothing is started in the background.
package schema
