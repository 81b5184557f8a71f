package pubsub

import (
	"strings"
	"testing"
)

func TestFilterMatches(t *testing.T) {
	attributes := map[string]string{"a": "1", "ce-type": "user.signed-up", "x y": "z", "empty": "", "ま": "み"}
	for expression, want := range map[string]bool{
		``:                              true,
		`attributes:a`:                  true,
		`attributes:b`:                  false,
		`attributes:empty`:              true,
		`attributes:"x y"`:              true,
		`attributes:"\u307e"`:           true,
		`attributes.a = "1"`:            true,
		`attributes.a="2"`:              false,
		`attributes.b = ""`:             false,
		`attributes.a != "2"`:           true,
		`attributes.a!="1"`:             false,
		`attributes.b != "1"`:           true,
		`attributes."x y" = "z"`:        true,
		`attributes.ce-type = "other"`:  false,
		`attributes.a = "a\"b\\"`:       false,
		`NOT attributes:b`:              true,
		`-attributes:a`:                 false,
		`- (attributes:a)`:              false,
		`NOT (attributes:a)`:            false,
		`attributes:a AND attributes:b`: false,
		`attributes:a OR attributes:b`:  true,
		`attributes:b OR attributes:c OR attributes:a`:                 true,
		`attributes:a AND NOT attributes:b`:                            true,
		`attributes:a AND (attributes:b OR attributes.a="1")`:          true,
		"\tattributes : a\nAND attributes . a = \"1\" ":                true,
		`hasPrefix(attributes.ce-type, "user.")`:                       true,
		`hasPrefix ( attributes."ce-type" , "mail." )`:                 false,
		`hasPrefix(attributes.b, "")`:                                  false,
		`NOT hasPrefix(attributes.b, "") AND -attributes.a = "2"`:      true,
		`attributes.AND = "1" OR attributes:a`:                         true,
		`((((attributes:a))))`:                                         true,
		`attributes:NOT OR attributes:hasPrefix OR attributes:missing`: false,
	} {
		f, err := parseFilter(expression)
		if err != nil {
			t.Errorf("%s: %v", expression, err)
			continue
		}
		if got := f.match(attributes); got != want {
			t.Errorf("%s: %v, want %v", expression, got, want)
		}
	}
}

func TestFilterErrors(t *testing.T) {
	for expression, want := range map[string]string{
		` `:                       "at offset 1",
		`attributes`:              `expected "."`,
		`attributes:`:             "key",
		`attributes:a b`:          "expected AND, OR or the end at offset 13",
		`attributes.a`:            `expected "="`,
		`attributes.a = b`:        "in double quotes",
		`attributes.a = 'b'`:      "unexpected character at offset 15",
		`attributes.a = "b`:       "not closed",
		`attributes.a = "\q"`:     "escape",
		`attributes.a > "b"`:      "unexpected character at offset 13",
		`attributes.1a = "b"`:     "unexpected character",
		`attributes."" = "b"`:     "key",
		`data = "b"`:              `expected "attributes"`,
		`and attributes:a`:        `expected "attributes"`,
		`attributes:a and NOT`:    "expected AND",
		`attributes:a AND`:        `expected "attributes"`,
		`NOT NOT attributes:a`:    `expected "attributes"`,
		`(attributes:a`:           `expected ")"`,
		`attributes:a)`:           "expected AND",
		`hasPrefix(a, "b")`:       `expected "attributes"`,
		`hasPrefix(attributes.a)`: `expected ","`,
		`attributes:a AND attributes:b OR attributes:c`:     "parentheses",
		`attributes.a = "` + strings.Repeat("x", 300) + `"`: "at most 256",
	} {
		_, err := parseFilter(expression)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", expression, err, want)
		}
	}
}

func FuzzFilter(f *testing.F) {
	f.Add(`attributes:a AND (attributes.b != "c" OR NOT hasPrefix(attributes."d e", "f"))`)
	f.Add(`-attributes:"\x41"`)
	f.Add(`((((((`)
	f.Add("attributes.\xff")
	f.Fuzz(func(t *testing.T, expression string) {
		parsed, err := parseFilter(expression)
		if err != nil {
			return
		}
		attributes := map[string]string{"a": "b"}
		got := parsed.match(attributes)
		if expression == "" || len(expression)+len("NOT ()") > maxFilterBytes {
			return
		}
		negated, err := parseFilter("NOT (" + expression + ")")
		if err != nil {
			t.Fatalf("%q is a filter, but not in parentheses: %v", expression, err)
		}
		if negated.match(attributes) == got {
			t.Fatalf("%q and its negation agree", expression)
		}
	})
}
