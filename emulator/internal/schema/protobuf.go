package schema

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// protobuf is a compiled protocol buffer definition.
type protobuf struct {
	root protoreflect.MessageDescriptor
}

// maxCompile bounds how long a definition may take. One of the largest size takes far less.
const maxCompile = 10 * time.Second

func compileProto(ctx context.Context, definition string) (*protobuf, error) {
	if n := definitionDepth(definition); n > maxDefinitionDepth {
		return nil, fmt.Errorf("the definition is nested %d deep, but at most %d are allowed", n, maxDefinitionDepth)
	}
	const name = "schema.proto"
	compiler := protocompile.Compiler{
		Resolver: protocompile.ResolverFunc(func(path string) (protocompile.SearchResult, error) {
			if path != name {
				return protocompile.SearchResult{}, fmt.Errorf("the import of %s is not supported: a schema is one file", path)
			}
			return protocompile.SearchResult{Source: stringReader(definition)}, nil
		}),
		MaxParallelism: 1,
	}
	ctx, cancel := context.WithTimeout(ctx, maxCompile)
	defer cancel()
	files, err := compiler.Compile(ctx, name)
	if err != nil {
		return nil, err
	}
	file := files[0]
	switch messages, enums := file.Messages().Len(), file.Enums().Len(); {
	case file.Imports().Len() > 0:
		return nil, errors.New("imports are not supported: a schema is one file")
	case messages == 0:
		return nil, errors.New("the definition has no message")
	case messages+enums > 1:
		return nil, fmt.Errorf("the definition has %d top-level types, but exactly one is allowed: nest the others in it", messages+enums)
	}
	// The compiler's descriptors look fields up one by one; these do by number and by name.
	indexed, err := protodesc.NewFile(protodesc.ToFileDescriptorProto(file), nil)
	if err != nil {
		return nil, err
	}
	return &protobuf{root: indexed.Messages().Get(0)}, nil
}

func loadProto(s *pubsubpb.CompiledProtoSchema) (*protobuf, error) {
	set := new(descriptorpb.FileDescriptorSet)
	if err := (proto.UnmarshalOptions{RecursionLimit: maxDefinitionDepth}).Unmarshal(s.GetCompiledBytes(), set); err != nil {
		return nil, fmt.Errorf("the compiled_bytes cannot be read: %w", err)
	}
	files, err := protodesc.NewFiles(set)
	if err != nil {
		return nil, fmt.Errorf("the compiled_bytes does not fit together: %w", err)
	}
	found, err := files.FindDescriptorByName(protoreflect.FullName(s.GetRootMessage()))
	if err != nil {
		return nil, fmt.Errorf("the compiled_bytes has no message %q", s.GetRootMessage())
	}
	root, ok := found.(protoreflect.MessageDescriptor)
	if !ok {
		return nil, fmt.Errorf("%q is not a message", s.GetRootMessage())
	}
	return &protobuf{root: root}, nil
}

func (p *protobuf) validate(data []byte, encoding pubsubpb.Encoding) error {
	m := dynamicpb.NewMessage(p.root)
	switch encoding {
	case pubsubpb.Encoding_JSON:
		return protojson.UnmarshalOptions{RecursionLimit: maxMessageDepth}.Unmarshal(data, m)
	case pubsubpb.Encoding_BINARY:
		return proto.UnmarshalOptions{RecursionLimit: maxMessageDepth}.Unmarshal(data, m)
	default:
		return errors.New("the encoding is neither JSON nor BINARY")
	}
}
