package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/linkedin/goavro/v2"
)

// avro is a compiled Avro definition: goavro's codec, and our tree for what goavro does not guard.
type avro struct {
	root  *avroNode
	codec *goavro.Codec
}

func compileAvro(definition string) (*avro, error) {
	if n := definitionDepth(definition); n > maxDefinitionDepth {
		return nil, fmt.Errorf("the definition is nested %d deep, but at most %d are allowed", n, maxDefinitionDepth)
	}
	root, err := parseAvro(definition)
	if err != nil {
		return nil, err
	}
	essentials, err := json.Marshal(root.essentials(make(map[*avroNode]bool)))
	if err != nil {
		return nil, err
	}
	codec, err := goavro.NewCodec(string(essentials))
	if err != nil {
		return nil, err
	}
	return &avro{root: root, codec: codec}, nil
}

func (a *avro) validate(data []byte, encoding pubsubpb.Encoding) error {
	var rest []byte
	var err error
	switch encoding {
	case pubsubpb.Encoding_JSON:
		if n := messageDepth(data); n > maxMessageDepth {
			return fmt.Errorf("the message is nested %d deep, but at most %d are allowed", n, maxMessageDepth)
		}
		_, rest, err = a.codec.NativeFromTextual(bytes.TrimSpace(data))
	case pubsubpb.Encoding_BINARY:
		if err := walk(a.root, data); err != nil {
			return err
		}
		_, rest, err = a.codec.NativeFromBinary(data)
	default:
		return errors.New("the encoding is neither JSON nor BINARY")
	}
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return errors.New("Too much data to parse for schema.")
	}
	return nil
}
