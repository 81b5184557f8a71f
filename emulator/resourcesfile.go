package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// maxResourcesFile bounds a file in bytes. It is far above what anybody writes.
const maxResourcesFile = 4 << 20

// ReadResources reads a file of resources: a JSON object whose members queues, topics, subscriptions and schemas are
// lists of what Google's REST APIs take, as in
//
//	{
//	  "queues": [{"name": "mails", "rateLimits": {"maxDispatchesPerSecond": 5}}],
//	  "topics": [{"name": "user-signed-up"}],
//	  "subscriptions": [{"name": "index-user", "topic": "user-signed-up", "ackDeadlineSeconds": 20}]
//	}
//
// It fails for whatever it does not know, and says each time where that stands. Whether the values are good, [Start] says.
func ReadResources(r io.Reader) (Resources, error) {
	file, err := io.ReadAll(io.LimitReader(r, maxResourcesFile+1))
	switch {
	case err != nil:
		return Resources{}, fmt.Errorf("emulator: reading the resources: %w", err)
	case len(file) > maxResourcesFile:
		return Resources{}, fmt.Errorf("emulator: the resources are more than %d bytes", maxResourcesFile)
	}
	p := resourcesParser{file: file, json: json.NewDecoder(bytes.NewReader(file))}
	resources, err := p.parse()
	if err != nil { // the file is no JSON from here on
		p.problems = append(p.problems, fmt.Errorf("emulator: the resources: %s: %w", p.place(p.json.InputOffset()), err))
	}
	return resources, errors.Join(p.problems...)
}

// resourcesParser reads a file token by token, so that problems can be reported by their place.
type resourcesParser struct {
	file     []byte
	json     *json.Decoder
	problems []error // that do not end the parsing
}

// parse returns an error for what is no JSON of the form.
func (p *resourcesParser) parse() (Resources, error) {
	var r Resources
	lists := map[string]func(at int64, element []byte) error{
		"schemas":       into(p, &r.Schemas),
		"topics":        into(p, &r.Topics),
		"subscriptions": into(p, &r.Subscriptions),
		"queues":        into(p, &r.Queues),
	}
	seen := make(map[string]bool)
	if err := p.delimiter('{'); err != nil {
		return r, err
	}
	for p.json.More() {
		token, err := p.json.Token()
		if err != nil {
			return r, plainSyntax(err)
		}
		name, _ := token.(string) // of an object's member, so it is one
		add, ok := lists[name]
		switch {
		case !ok:
			return r, fmt.Errorf("unknown member %q: there are queues, topics, subscriptions and schemas", name)
		case seen[name]:
			return r, fmt.Errorf("%q is there twice", name)
		}
		seen[name] = true
		if err := p.list(name, add); err != nil {
			return r, err
		}
	}
	if err := p.delimiter('}'); err != nil {
		return r, err
	}
	if _, err := p.json.Token(); !errors.Is(err, io.EOF) {
		return r, errors.New("something follows the object")
	}
	return r, nil
}

func (p *resourcesParser) list(name string, add func(int64, []byte) error) error {
	if err := p.delimiter('['); err != nil {
		return err
	}
	for i := 0; p.json.More(); i++ {
		var element json.RawMessage
		if err := p.json.Decode(&element); err != nil {
			return plainSyntax(err)
		}
		if err := add(p.json.InputOffset()-int64(len(element)), element); err != nil {
			p.problems = append(p.problems, fmt.Errorf("emulator: the resources: %s[%d]: %w", name, i, err))
		}
	}
	return p.delimiter(']')
}

func (p *resourcesParser) delimiter(want json.Delim) error {
	token, err := p.json.Token()
	if err != nil {
		return plainSyntax(err)
	}
	if got, ok := token.(json.Delim); !ok || got != want {
		return fmt.Errorf("want %v, not %v", want, token)
	}
	return nil
}

// into returns what parses an element of a list.
func into[M any, P interface {
	*M
	proto.Message
}](p *resourcesParser, list *[]P,
) func(at int64, element []byte) error {
	return func(at int64, element []byte) error {
		message := P(new(M))
		if protojson.Unmarshal(element, message) != nil {
			// Its errors name a line and a column. Space in front makes them the file's.
			line, column := p.position(at)
			padded := append(bytes.Repeat([]byte{'\n'}, line-1), bytes.Repeat([]byte{' '}, column-1)...)
			err := protojson.Unmarshal(append(padded, element...), message)
			// The library varies a space in its errors, so that nobody compares them.
			return errors.New(strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: "))
		}
		*list = append(*list, message)
		return nil
	}
}

// position is where an offset stands: a line and a column in bytes, from 1.
func (p *resourcesParser) position(offset int64) (line, column int) {
	before := p.file[:offset]
	return bytes.Count(before, []byte{'\n'}) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}

func (p *resourcesParser) place(offset int64) string {
	line, column := p.position(offset)
	return fmt.Sprintf("(line %d:%d)", line, column)
}

// plainSyntax says of a file that breaks off what that means.
func plainSyntax(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the file ends too soon")
	}
	return err
}
