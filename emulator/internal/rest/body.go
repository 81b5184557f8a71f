package rest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// decode fills the request message: the body first, then the query, then the path, which wins.
func (rt *route) decode(message protoreflect.Message, body []byte, params []param, found match) error {
	if err := rt.decodeBody(message, body); err != nil {
		return err
	}
	if err := setParams(message, params); err != nil {
		return err
	}
	var problems violations
	for _, v := range rt.variables {
		text, err := found.value(v.variable)
		if err == nil {
			err = setField(message, v.fields, text)
		}
		if err != nil {
			problems.invalidValue(v.fields.String(), v.fields.leaf(), quote(text))
		}
	}
	return problems.err()
}

func (rt *route) decodeBody(message protoreflect.Message, body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	switch rt.body {
	case fieldBody:
		return decodeJSON(message.Mutable(rt.bodyField).Message(), body)
	case wholeBody:
		return rt.decodeWhole(message, body)
	}
	if string(bytes.TrimSpace(body)) != "{}" {
		return invalidf("Invalid request: this method takes no body. Send its fields in the path and in the query string.")
	}
	return nil
}

// decodeWhole takes the field mask out of the body first: protojson knows camelCase masks only.
func (rt *route) decodeWhole(message protoreflect.Message, body []byte) error {
	if rt.mask == nil {
		return decodeJSON(message, body)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return decodeJSON(message, body) // which says what is wrong
	}
	var masks []string
	for _, name := range []string{rt.mask.JSONName(), string(rt.mask.Name())} {
		var mask string
		if raw, ok := members[name]; ok && json.Unmarshal(raw, &mask) == nil {
			masks = append(masks, mask)
			delete(members, name)
		}
	}
	rest, err := json.Marshal(members)
	if err != nil {
		return invalidf("Invalid JSON payload received. %v", err)
	}
	if err := decodeJSON(message, rest); err != nil {
		return err
	}
	for _, mask := range masks {
		setMask(message.Mutable(rt.mask).Message(), mask)
	}
	return nil
}

func decodeJSON(message protoreflect.Message, body []byte) error {
	if err := protojson.Unmarshal(body, message.Interface()); err != nil {
		return explain(message, body, err)
	}
	return nil
}

// readBody returns the whole body, decompressed. The limit holds for what was sent and for
// what becomes of it.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	sent := http.MaxBytesReader(w, r.Body, limit)
	body := io.Reader(sent)
	switch encoding := strings.ToLower(r.Header.Get("Content-Encoding")); encoding {
	case "", "identity":
	case "gzip", "x-gzip":
		decompressed, err := gzip.NewReader(sent)
		if err != nil {
			return nil, bodyError(err, limit)
		}
		body = decompressed
	default:
		return nil, invalidf("The Content-Encoding %s is not supported: send gzip or none.", shown(encoding))
	}
	var b bytes.Buffer
	if declared := r.ContentLength; 0 < declared && declared <= limit {
		b.Grow(int(declared) + bytes.MinRead)
	}
	if _, err := b.ReadFrom(io.LimitReader(body, limit+1)); err != nil {
		return nil, bodyError(err, limit)
	}
	if int64(b.Len()) > limit {
		return nil, tooLarge(limit)
	}
	return b.Bytes(), nil
}

func bodyError(err error, limit int64) error {
	if over := (*http.MaxBytesError)(nil); errors.As(err, &over) {
		return tooLarge(limit)
	}
	return invalidf("The request body could not be read: %v.", err)
}

func tooLarge(limit int64) error {
	return invalidf("Request payload size exceeds the limit: %d bytes.", limit)
}
