package rest

import (
	"errors"
	"fmt"
	"strings"
)

// Segments of a template that match more than themselves.
const (
	anySegment   = "*"
	restSegments = "**"
)

// A template is a parsed path template of google/api/http.proto:
//
//	Template  = "/" Segments [ Verb ] ;
//	Segments  = Segment { "/" Segment } ;
//	Segment   = "*" | "**" | LITERAL | Variable ;
//	Variable  = "{" FieldPath [ "=" Segments ] "}" ;
//	FieldPath = IDENT { "." IDENT } ;
//	Verb      = ":" LITERAL ;
type template struct {
	segments  []string // a literal, anySegment, or restSegments as the last one
	variables []variable
	verb      string
}

// A variable is the part of a path that is bound to a field of the request.
type variable struct {
	field    string // dotted path of field names
	from, to int    // segments [from, to); to is toEnd for a variable that ends in "**"
	single   bool   // exactly one "*": its value is fully unescaped
}

const toEnd = -1

func parseTemplate(text string) (template, error) {
	p := templateParser{rest: text}
	t, err := p.parse()
	if err != nil {
		return template{}, fmt.Errorf("path template %q: %w at offset %d", text, err, len(text)-len(p.rest))
	}
	return t, nil
}

type templateParser struct {
	rest string
	t    template
}

func (p *templateParser) parse() (template, error) {
	if !p.take("/") {
		return p.t, errors.New("no slash")
	}
	if err := p.segments(true); err != nil {
		return p.t, err
	}
	if p.take(":") {
		if p.t.verb = p.literal(); p.t.verb == "" {
			return p.t, errors.New("empty verb")
		}
	}
	if p.rest != "" {
		return p.t, fmt.Errorf("unexpected %q", p.rest[0])
	}
	for i, segment := range p.t.segments {
		if segment == restSegments && i != len(p.t.segments)-1 {
			return p.t, errors.New("** is not the last segment")
		}
	}
	return p.t, nil
}

// segments reads one or more of them; variables do not nest.
func (p *templateParser) segments(variables bool) error {
	for {
		switch {
		case p.take(restSegments):
			p.t.segments = append(p.t.segments, restSegments)
		case p.take(anySegment):
			p.t.segments = append(p.t.segments, anySegment)
		case variables && p.take("{"):
			if err := p.variable(); err != nil {
				return err
			}
		default:
			literal := p.literal()
			if literal == "" {
				return errors.New("empty segment")
			}
			p.t.segments = append(p.t.segments, literal)
		}
		if !p.take("/") {
			return nil
		}
	}
}

func (p *templateParser) variable() error {
	end := strings.IndexAny(p.rest, "=}")
	if end < 0 {
		return errors.New("no end of the variable")
	}
	v := variable{field: p.rest[:end], from: len(p.t.segments)}
	p.rest = p.rest[end:]
	if p.take("=") {
		if err := p.segments(false); err != nil {
			return err
		}
	} else {
		p.t.segments = append(p.t.segments, anySegment)
	}
	if !p.take("}") {
		return errors.New("no end of the variable")
	}
	v.to = len(p.t.segments)
	last := p.t.segments[v.to-1]
	v.single = v.to-v.from == 1 && last == anySegment
	if last == restSegments {
		v.to = toEnd
	}
	p.t.variables = append(p.t.variables, v)
	return nil
}

func (p *templateParser) literal() string {
	end := strings.IndexAny(p.rest, "/:{}=*")
	if end < 0 {
		end = len(p.rest)
	}
	literal := p.rest[:end]
	p.rest = p.rest[end:]
	return literal
}

func (p *templateParser) take(token string) bool {
	rest, ok := strings.CutPrefix(p.rest, token)
	p.rest = rest
	return ok
}
