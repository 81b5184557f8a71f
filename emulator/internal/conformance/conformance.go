// Package conformance keeps the tables of docs/emulator-*.md honest: it reads them, and reports
// every method and field of a service that no row names, every name that the service does not
// have, and every test that does not exist.
//
// # Format
//
// A row of a Markdown table counts when its first cell names, in backticks, methods as
// `Service.Method`, fields as `Message.field` (nested messages as `Outer.Inner.field`) or all fields
// of a message as `Message.*`. Its last cell names the tests that cover them, in backticks, at least
// one. Names are without the proto's package. Other tables are left alone: their first cells have
// no backticks or no dot in them.
//
//	| `Publisher.CreateTopic` | names, limits, defaults | `TestTopicLifecycle` |
//	| `Topic.labels`, `Topic.name` | checked | `TestTopicSettings`, `TestRefusals` |
package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Config says what a document has to cover.
type Config struct {
	// Services whose methods must have a row, with the fields of all messages of the service's own
	// proto package that a request or a response can hold.
	Services []protoreflect.ServiceDescriptor
	// Messages whose fields must have a row as well: those that travel in an Any, and those of other packages.
	Messages []protoreflect.MessageDescriptor
	// Dirs hold the tests that rows may name, in files that end in _test.go. Folders below do not count.
	Dirs []string
}

// Check returns every fault of the document, joined; nil if there is none.
func Check(document []byte, c Config) error {
	tests, err := testsIn(c.Dirs)
	if err != nil {
		return err
	}
	known := namesOf(c.Services, c.Messages)
	covered := make(map[string]bool)
	var faults []error
	for n, line := range bytes.Split(document, []byte("\n")) {
		names, named := row(string(line))
		if len(names) == 0 {
			continue
		}
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Errorf("line %d: "+format, append([]any{n + 1}, args...)...))
		}
		for _, name := range names {
			matched := false
			for k := range known {
				if k == name || strings.HasSuffix(name, ".*") && k[:strings.LastIndexByte(k, '.')+1] == name[:len(name)-1] {
					covered[k], matched = true, true
				}
			}
			if !matched {
				fault("%s is neither a method nor a field of the services", name)
			}
		}
		if len(named) == 0 {
			fault("no test is named for %s", strings.Join(names, ", "))
		}
		for _, test := range named {
			if !tests[test] {
				fault("the test %s does not exist in %s", test, strings.Join(c.Dirs, ", "))
			}
		}
	}
	var missing []string
	for k := range known {
		if !covered[k] {
			missing = append(missing, k)
		}
	}
	slices.Sort(missing)
	for _, k := range missing {
		faults = append(faults, fmt.Errorf("no row for %s", k))
	}
	return errors.Join(faults...)
}

var quoted = regexp.MustCompile("`([^`]+)`")

// row returns the names of a table's row and its tests.
func row(line string) (names, tests []string) {
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, "|") {
		return nil, nil
	}
	cells := strings.Split(strings.Trim(line, "|"), "|")
	for _, m := range quoted.FindAllStringSubmatch(cells[0], -1) {
		if strings.Contains(m[1], ".") {
			names = append(names, m[1])
		}
	}
	if len(cells) > 1 {
		for _, m := range quoted.FindAllStringSubmatch(cells[len(cells)-1], -1) {
			tests = append(tests, m[1])
		}
	}
	return names, tests
}

var testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example|Benchmark)\w*)\(`)

func testsIn(dirs []string) (map[string]bool, error) {
	tests := make(map[string]bool)
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("conformance: no tests in %s", dir)
		}
		for _, file := range files {
			source, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			for _, m := range testFunc.FindAllSubmatch(source, -1) {
				tests[string(m[1])] = true
			}
		}
	}
	return tests, nil
}

// namesOf lists Service.Method and Message.field of everything that the services can carry.
func namesOf(services []protoreflect.ServiceDescriptor, messages []protoreflect.MessageDescriptor) map[string]bool {
	names := make(map[string]bool)
	seen := make(map[protoreflect.FullName]bool)
	for _, message := range messages {
		addFields(names, seen, message, message.ParentFile().Package())
	}
	for _, service := range services {
		pkg := service.ParentFile().Package()
		for i := range service.Methods().Len() {
			method := service.Methods().Get(i)
			names[string(service.Name())+"."+string(method.Name())] = true
			addFields(names, seen, method.Input(), pkg)
			addFields(names, seen, method.Output(), pkg)
		}
	}
	return names
}

func addFields(names map[string]bool, seen map[protoreflect.FullName]bool, message protoreflect.MessageDescriptor, pkg protoreflect.FullName) {
	if seen[message.FullName()] || message.ParentFile().Package() != pkg {
		return
	}
	seen[message.FullName()] = true
	for i := range message.Fields().Len() {
		field := message.Fields().Get(i)
		if !message.IsMapEntry() {
			names[strings.TrimPrefix(string(message.FullName()), string(pkg)+".")+"."+string(field.Name())] = true
		}
		if inner := field.Message(); inner != nil {
			addFields(names, seen, inner, pkg)
		}
	}
}
