package pubsub

import (
	"fmt"
	"strconv"
	"strings"
)

// maxFilterBytes is the service's limit on the length of a filter.
const maxFilterBytes = 256

// filter decides by its attributes whether a subscription gets a message. Nil lets everything through.
type filter func(attributes map[string]string) bool

func (f filter) match(attributes map[string]string) bool { return f == nil || f(attributes) }

// parseFilter parses an expression of the Pub/Sub filter language:
//
//	expression = term { "AND" term } | term { "OR" term }
//	term       = [ "NOT" | "-" ] ( "(" expression ")" | condition )
//	condition  = "attributes" ":" key
//	           | "attributes" "." key ( "=" | "!=" ) string
//	           | "hasPrefix" "(" "attributes" "." key "," string ")"
//	key        = identifier | string
//
// AND and OR do not mix without parentheses. A message without the key satisfies "!=". An empty
// expression gives a nil filter.
func parseFilter(expression string) (filter, error) {
	if expression == "" {
		return nil, nil
	}
	if len(expression) > maxFilterBytes {
		return nil, fmt.Errorf("the filter has %d bytes, but at most %d are allowed", len(expression), maxFilterBytes)
	}
	p := &filterParser{in: expression}
	p.advance()
	f := p.expression()
	if p.err == nil && p.token.kind != tokenEnd {
		p.fail("expected AND, OR or the end")
	}
	if p.err != nil {
		return nil, p.err
	}
	return f, nil
}

type tokenKind uint8

const (
	tokenEnd    tokenKind = iota
	tokenWord             // an identifier or a keyword
	tokenString           // a quoted string, unquoted
	tokenSymbol           // punctuation
)

type token struct {
	kind tokenKind
	text string
	at   int
}

// filterParser is a recursive descent over tokens. After the first error it only unwinds.
type filterParser struct {
	in    string
	pos   int
	token token
	err   error
}

func (p *filterParser) fail(what string) {
	if p.err == nil {
		p.err = fmt.Errorf("%s at offset %d", what, p.token.at)
		p.token = token{kind: tokenEnd}
		p.pos = len(p.in)
	}
}

// advance reads the next token.
func (p *filterParser) advance() {
	for p.pos < len(p.in) && strings.IndexByte(" \t\r\n", p.in[p.pos]) >= 0 {
		p.pos++
	}
	p.token = token{kind: tokenEnd, at: p.pos}
	if p.pos == len(p.in) {
		return
	}
	rest := p.in[p.pos:]
	n := 1
	switch c := rest[0]; {
	case isLetter(c) || c == '_':
		for n < len(rest) && isWordByte(rest[n]) {
			n++
		}
		p.token.kind, p.token.text = tokenWord, rest[:n]
	case c == '"':
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			p.fail("a string is not closed or has an unknown escape")
			return
		}
		n = len(quoted)
		text, err := strconv.Unquote(quoted)
		if err != nil {
			p.fail("a string has an unknown escape")
			return
		}
		p.token.kind, p.token.text = tokenString, text
	case strings.HasPrefix(rest, "!="):
		n = 2
		p.token.kind, p.token.text = tokenSymbol, "!="
	case strings.IndexByte("():.,=-", c) >= 0:
		p.token.kind, p.token.text = tokenSymbol, rest[:1]
	default:
		p.fail("unexpected character")
		return
	}
	p.pos += n
}

// isWordByte allows hyphens inside words, so that attributes.ce-type needs no quotes.
func isWordByte(c byte) bool { return isLetter(c) || isDigit(c) || c == '_' || c == '-' }

// accept reads past the token if it is this one.
func (p *filterParser) accept(kind tokenKind, text string) bool {
	if p.token.kind != kind || p.token.text != text {
		return false
	}
	p.advance()
	return true
}

func (p *filterParser) expect(symbol string) {
	if !p.accept(tokenSymbol, symbol) {
		p.fail("expected " + strconv.Quote(symbol))
	}
}

func (p *filterParser) expression() filter {
	f := p.term()
	operator := ""
	for p.token.kind == tokenWord && (p.token.text == "AND" || p.token.text == "OR") {
		if operator != "" && operator != p.token.text {
			p.fail("AND and OR need parentheses when they are mixed")
			return nil
		}
		operator = p.token.text
		p.advance()
		left, right := f, p.term()
		if operator == "AND" {
			f = func(a map[string]string) bool { return left(a) && right(a) }
		} else {
			f = func(a map[string]string) bool { return left(a) || right(a) }
		}
	}
	return f
}

func (p *filterParser) term() filter {
	if p.accept(tokenWord, "NOT") || p.accept(tokenSymbol, "-") {
		f := p.primary()
		return func(a map[string]string) bool { return !f(a) }
	}
	return p.primary()
}

func (p *filterParser) primary() filter {
	switch {
	case p.accept(tokenSymbol, "("):
		f := p.expression()
		p.expect(")")
		return f
	case p.accept(tokenWord, "attributes"):
		return p.condition()
	case p.accept(tokenWord, "hasPrefix"):
		return p.hasPrefix()
	default:
		p.fail(`expected "attributes", "hasPrefix", "NOT" or "("`)
		return nil
	}
}

func (p *filterParser) condition() filter {
	if p.accept(tokenSymbol, ":") {
		key := p.key()
		return func(a map[string]string) bool { _, ok := a[key]; return ok }
	}
	p.expect(".")
	key := p.key()
	if p.accept(tokenSymbol, "!=") {
		value := p.str()
		return func(a map[string]string) bool { v, ok := a[key]; return !ok || v != value }
	}
	p.expect("=")
	value := p.str()
	return func(a map[string]string) bool { v, ok := a[key]; return ok && v == value }
}

func (p *filterParser) hasPrefix() filter {
	p.expect("(")
	if !p.accept(tokenWord, "attributes") {
		p.fail(`expected "attributes"`)
	}
	p.expect(".")
	key := p.key()
	p.expect(",")
	prefix := p.str()
	p.expect(")")
	return func(a map[string]string) bool { v, ok := a[key]; return ok && strings.HasPrefix(v, prefix) }
}

func (p *filterParser) key() string {
	if p.token.kind != tokenWord && p.token.kind != tokenString || p.token.text == "" {
		p.fail("expected an attribute's key")
		return ""
	}
	key := p.token.text
	p.advance()
	return key
}

func (p *filterParser) str() string {
	if p.token.kind != tokenString {
		p.fail("expected a string in double quotes")
		return ""
	}
	s := p.token.text
	p.advance()
	return s
}
