package cloudtasks

import (
	"strconv"
	"strings"
	"time"

	"go.einride.tech/aip/filtering"
	expr "google.golang.org/genproto/googleapis/api/expr/v1alpha1"
	"google.golang.org/protobuf/reflect/protoreflect"
)

const (
	// maxFilter and maxFilterDepth bound what a filter can make the parser do.
	maxFilter      = 2048
	maxFilterDepth = 32
)

// predicate tells whether a message is one of those that a filter wants.
type predicate func(protoreflect.Message) bool

// compileFilter reads a filter of the form of AIP-160, over the fields of the message, by their names in the proto or
// in JSON. An empty filter wants everything.
//
// Operators are = != < <= > >= and : (contains, for a text; the same as = for the rest; FIELD:* asks whether the field is
// set), AND, OR, NOT, - and parentheses. OR binds tighter than AND, and terms side by side are joined by AND. Texts are
// compared without regard to their case, as Cloud Logging's filters do, to whose language the proto's comment refers.
// Durations are written 10s, times in quotes. A field of a message that is not set equals nothing.
func compileFilter(filter string, message protoreflect.MessageDescriptor) (predicate, error) {
	if strings.TrimSpace(filter) == "" {
		return func(protoreflect.Message) bool { return true }, nil
	}
	if len(filter) > maxFilter || strings.Count(filter, "(") > maxFilterDepth {
		return nil, badFilter("it has more than %d characters or %d parentheses", maxFilter, maxFilterDepth)
	}
	var parser filtering.Parser
	parser.Init(quoteWords(filter))
	parsed, err := parser.Parse()
	if err != nil {
		return nil, badFilter("it cannot be read as AIP-160 has it; write values in quotes, as in state=\"PAUSED\"")
	}
	return compile(parsed.GetExpr(), message)
}

func badFilter(format string, args ...any) error {
	return invalid("filter", "The filter is not valid: "+format+".", args...)
}

// quoteWords puts quotes around bare words that the parser takes apart, though they are common: ids with hyphens, and
// durations.
func quoteWords(filter string) string {
	var b strings.Builder
	for rest := filter; rest != ""; {
		if quote := rest[0]; quote == '"' || quote == '\'' {
			n := quotedLen(rest)
			b.WriteString(rest[:n])
			rest = rest[n:]
			continue
		}
		n := strings.IndexAny(rest, " \t\r\n()<>=!:,\"'")
		switch {
		case n == 0:
			b.WriteByte(rest[0])
			rest = rest[1:]
			continue
		case n < 0:
			n = len(rest)
		}
		if word := rest[:n]; needsQuotes(word) {
			b.WriteString(`"` + word + `"`)
		} else {
			b.WriteString(word)
		}
		rest = rest[n:]
	}
	return b.String()
}

// quotedLen is how much of the text a quoted string at its start takes.
func quotedLen(text string) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case text[0]:
			return i + 1
		}
	}
	return len(text)
}

func needsQuotes(word string) bool {
	if strings.ContainsAny(word, `\`) || word[0] == '-' {
		return false
	}
	if strings.Contains(word, "-") {
		return true
	}
	_, err := strconv.ParseFloat(word, 64)
	return word[0] >= '0' && word[0] <= '9' && err != nil
}

func compile(e *expr.Expr, message protoreflect.MessageDescriptor) (predicate, error) {
	call := e.GetCallExpr()
	if call == nil {
		return nil, badFilter("a value alone says nothing; write FIELD = VALUE, as in name:mail")
	}
	args := call.GetArgs()
	switch call.GetFunction() {
	case filtering.FunctionAnd, filtering.FunctionFuzzyAnd, filtering.FunctionOr:
		first, err := compile(args[0], message)
		if err != nil {
			return nil, err
		}
		second, err := compile(args[1], message)
		if err != nil {
			return nil, err
		}
		if call.GetFunction() == filtering.FunctionOr {
			return func(m protoreflect.Message) bool { return first(m) || second(m) }, nil
		}
		return func(m protoreflect.Message) bool { return first(m) && second(m) }, nil
	case filtering.FunctionNot:
		wanted, err := compile(args[0], message)
		if err != nil {
			return nil, err
		}
		return func(m protoreflect.Message) bool { return !wanted(m) }, nil
	case filtering.FunctionEquals, filtering.FunctionNotEquals, filtering.FunctionHas,
		filtering.FunctionLessThan, filtering.FunctionLessEquals, filtering.FunctionGreaterThan, filtering.FunctionGreaterEquals:
		return compileComparison(call.GetFunction(), args[0], args[1], message)
	default:
		return nil, badFilter("there is no function %q", call.GetFunction())
	}
}

func compileComparison(operator string, left, right *expr.Expr, message protoreflect.MessageDescriptor) (predicate, error) {
	path, err := resolvePath(left, message)
	if err != nil {
		return nil, err
	}
	value, ok := textOf(right)
	if !ok {
		return nil, badFilter("what follows %s must be a value", operator)
	}
	if operator == filtering.FunctionHas && value == "*" {
		return func(m protoreflect.Message) bool {
			return anyOf(m, path, func(protoreflect.Value) bool { return true })
		}, nil
	}
	test, err := comparison(path[len(path)-1], operator, value)
	if err != nil {
		return nil, err
	}
	if operator == filtering.FunctionNotEquals {
		equal := test
		return func(m protoreflect.Message) bool { return !anyOf(m, path, equal) }, nil
	}
	return func(m protoreflect.Message) bool { return anyOf(m, path, test) }, nil
}

// resolvePath follows a member expression through the fields of messages.
func resolvePath(e *expr.Expr, message protoreflect.MessageDescriptor) ([]protoreflect.FieldDescriptor, error) {
	var path []protoreflect.FieldDescriptor
	var name string
	switch kind := e.GetExprKind().(type) {
	case *expr.Expr_IdentExpr:
		name = kind.IdentExpr.GetName()
	case *expr.Expr_SelectExpr:
		parent, err := resolvePath(kind.SelectExpr.GetOperand(), message)
		if err != nil {
			return nil, err
		}
		if last := parent[len(parent)-1]; last.IsMap() || last.Message() == nil {
			return nil, badFilter("%q has no fields", last.Name())
		}
		path, message, name = parent, parent[len(parent)-1].Message(), kind.SelectExpr.GetField()
	default:
		return nil, badFilter("what precedes an operator must be a field")
	}
	field := message.Fields().ByJSONName(name)
	if field == nil {
		field = message.Fields().ByName(protoreflect.Name(name))
	}
	if field == nil {
		return nil, badFilter("%s has no field %q", message.Name(), name)
	}
	return append(path, field), nil
}

// textOf is a value as text: a constant, or a bare word.
func textOf(e *expr.Expr) (string, bool) {
	switch kind := e.GetExprKind().(type) {
	case *expr.Expr_IdentExpr:
		return kind.IdentExpr.GetName(), true
	case *expr.Expr_ConstExpr:
		switch c := kind.ConstExpr.GetConstantKind().(type) {
		case *expr.Constant_StringValue:
			return c.StringValue, true
		case *expr.Constant_Int64Value:
			return strconv.FormatInt(c.Int64Value, 10), true
		case *expr.Constant_DoubleValue:
			return strconv.FormatFloat(c.DoubleValue, 'g', -1, 64), true
		}
	case *expr.Expr_SelectExpr: // a.b, as in a bare domain name
		operand, ok := textOf(kind.SelectExpr.GetOperand())
		return operand + "." + kind.SelectExpr.GetField(), ok
	}
	return "", false
}

// anyOf tells whether a value that the path leads to passes the test. Lists are searched.
func anyOf(m protoreflect.Message, path []protoreflect.FieldDescriptor, test func(protoreflect.Value) bool) bool {
	field := path[0]
	last := len(path) == 1
	if field.HasPresence() && !m.Has(field) || (field.IsList() || field.IsMap()) && !m.Has(field) {
		return false
	}
	value := m.Get(field)
	switch {
	case field.IsMap():
		return test(value)
	case field.IsList():
		list := value.List()
		for i := range list.Len() {
			if last && test(list.Get(i)) || !last && anyOf(list.Get(i).Message(), path[1:], test) {
				return true
			}
		}
		return false
	case last:
		return test(value)
	default:
		return anyOf(value.Message(), path[1:], test)
	}
}

// comparison makes the test of a single value. That of != is the one of =, to be denied by the caller.
func comparison(field protoreflect.FieldDescriptor, operator, text string) (func(protoreflect.Value) bool, error) {
	unfit := func(what string) error {
		return badFilter("%s must be compared with %s, not %q", field.Name(), what, text)
	}
	switch kind := field.Kind(); {
	case field.IsMap() || kind == protoreflect.BytesKind:
		return nil, badFilter("%s cannot be compared", field.Name())
	case kind == protoreflect.StringKind:
		want := strings.ToLower(text)
		if operator == filtering.FunctionHas {
			return func(v protoreflect.Value) bool { return strings.Contains(strings.ToLower(v.String()), want) }, nil
		}
		return func(v protoreflect.Value) bool {
			return holds(operator, strings.Compare(strings.ToLower(v.String()), want))
		}, nil
	case kind == protoreflect.EnumKind:
		number, ok := enumNumber(field.Enum(), text)
		if !ok {
			return nil, unfit("a value of " + string(field.Enum().Name()))
		}
		if operator != filtering.FunctionEquals && operator != filtering.FunctionNotEquals && operator != filtering.FunctionHas {
			return nil, badFilter("%s has no order", field.Name())
		}
		return func(v protoreflect.Value) bool { return v.Enum() == number }, nil
	case kind == protoreflect.BoolKind:
		want, err := strconv.ParseBool(text)
		if err != nil {
			return nil, unfit("true or false")
		}
		return func(v protoreflect.Value) bool { return v.Bool() == want }, nil
	case kind == protoreflect.MessageKind:
		return timeComparison(field, operator, text)
	}
	want, err := strconv.ParseFloat(text, 64)
	if err != nil || want != want {
		return nil, unfit("a number")
	}
	return func(v protoreflect.Value) bool { return holds(operator, compareNumbers(number(v), want)) }, nil
}

// timeComparison is for the two messages that have an order.
func timeComparison(field protoreflect.FieldDescriptor, operator, text string) (func(protoreflect.Value) bool, error) {
	var want time.Duration // since the epoch, or as it is
	switch field.Message().FullName() {
	case "google.protobuf.Duration":
		d, err := time.ParseDuration(text)
		if seconds, numeric := strconv.ParseFloat(text, 64); numeric == nil && seconds == seconds && seconds < 1e9 && seconds > -1e9 {
			d, err = time.Duration(seconds*float64(time.Second)), nil
		}
		if err != nil {
			return nil, badFilter("%s must be compared with a duration in seconds, as 10s, not %q", field.Name(), text)
		}
		want = d
	case "google.protobuf.Timestamp":
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil || t.Year() < 1700 || t.Year() > 2200 { // beyond which a Duration since the epoch cannot go
			return nil, badFilter(`%s must be compared with a time, as "2026-01-02T03:04:05Z", not %q`, field.Name(), text)
		}
		want = time.Duration(t.UnixNano())
	default:
		return nil, badFilter("%s is a message: compare one of its fields, or ask for it by %s:*", field.Name(), field.Name())
	}
	fields := field.Message().Fields()
	seconds, nanos := fields.ByName("seconds"), fields.ByName("nanos")
	return func(v protoreflect.Value) bool {
		m := v.Message()
		whole := m.Get(seconds).Int() - int64(want/time.Second)
		part := m.Get(nanos).Int() - int64(want%time.Second)
		return holds(operator, compareNumbers(float64(whole)+float64(part)/1e9, 0))
	}, nil
}

func holds(operator string, order int) bool {
	switch operator {
	case filtering.FunctionLessThan:
		return order < 0
	case filtering.FunctionLessEquals:
		return order <= 0
	case filtering.FunctionGreaterThan:
		return order > 0
	case filtering.FunctionGreaterEquals:
		return order >= 0
	default:
		return order == 0
	}
}

func compareNumbers(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	default:
		return 0
	}
}

func number(v protoreflect.Value) float64 {
	switch n := v.Interface().(type) {
	case int32:
		return float64(n)
	case int64:
		return float64(n)
	case uint32:
		return float64(n)
	case uint64:
		return float64(n)
	case float32:
		return float64(n)
	case float64:
		return n
	default:
		return 0
	}
}

// enumNumber takes a value's name in any case, or its number.
func enumNumber(enum protoreflect.EnumDescriptor, text string) (protoreflect.EnumNumber, bool) {
	if v := enum.Values().ByName(protoreflect.Name(strings.ToUpper(text))); v != nil {
		return v.Number(), true
	}
	n, err := strconv.ParseInt(text, 10, 32)
	return protoreflect.EnumNumber(n), err == nil
}
