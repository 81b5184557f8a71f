package dispatch_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What docs/guarantees.md and docs/faults.md promise is shown by tests that exist.
func TestEachPromiseAndEachFaultNamesItsTests(t *testing.T) {
	for file, least := range map[string]int{"guarantees.md": 30, "faults.md": 50} {
		document, err := os.ReadFile(filepath.Join("../docs", file))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := checkRows(string(document), "..")
		if err != nil {
			t.Errorf("%s:\n%v", file, err)
		}
		if rows < least {
			t.Errorf("%s has %d rows, it had %d", file, rows, least)
		}
	}
}

var testName = regexp.MustCompile("`([a-z0-9/]+)\\.((?:Test|Example|Fuzz)\\w+)`")

// checkRows counts the rows of a document's tables whose header's last cell is "test" or "shown by", and reports those that name no test in
// their last cell, or one that is not in its folder.
func checkRows(document, root string) (rows int, err error) {
	var faults []error
	inside := false
	for n, line := range strings.Split(document, "\n") {
		if !strings.HasPrefix(line, "|") {
			inside = false
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		switch last := strings.TrimSpace(cells[len(cells)-1]); {
		case last == "test" || last == "shown by":
			inside = true
		case !inside || last != "" && strings.Trim(last, "-") == "":
		default:
			rows++
			names := testName.FindAllStringSubmatch(last, -1)
			if len(names) == 0 || len(names) != strings.Count(last, "`")/2 {
				faults = append(faults, fmt.Errorf("line %d names no test, or not in the form `folder.TestName`: %s", n+1, last))
			}
			for _, name := range names {
				if !exists(filepath.Join(root, name[1]), name[2]) {
					faults = append(faults, fmt.Errorf("line %d: the test %s is not in %s", n+1, name[2], name[1]))
				}
			}
		}
	}
	return rows, errors.Join(faults...)
}

func exists(folder, test string) bool {
	files, _ := filepath.Glob(filepath.Join(folder, "*_test.go"))
	for _, file := range files {
		if source, err := os.ReadFile(file); err == nil && strings.Contains(string(source), "\nfunc "+test+"(") {
			return true
		}
	}
	return false
}

func TestADocumentThatNamesNoTestsIsRefused(t *testing.T) {
	const table = "| promised | shown by |\n|---|---|\n| something | `dispatch.TestMain`, `tasks.TestLimits` |\n\n| other | table |\n|---|---|\n| a | b |\n"
	if rows, err := checkRows(table, ".."); rows != 1 || err != nil {
		t.Errorf("%d rows, %v", rows, err)
	}
	for name, replacement := range map[string]string{
		"no test":                      "",
		"a test that is not there":     "`dispatch.TestThatIsNotThere`",
		"the beginning of a name":      "`dispatch.TestMai`",
		"a test of another folder":     "`sync.TestEachPromiseAndEachFaultNamesItsTests`",
		"a test without a folder":      "`TestMain`",
		"a folder that does not exist": "`nowhere.TestMain`",
	} {
		if _, err := checkRows(strings.Replace(table, "`dispatch.TestMain`, `tasks.TestLimits`", replacement, 1), ".."); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// The guide's code is cut from the examples, which compile and run.
func TestTheGuidesCodeIsTheExamples(t *testing.T) {
	guide, err := os.ReadFile("../docs/outbox-inbox.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples string
	for _, file := range []string{"outbox/example_test.go", "inbox/example_test.go"} {
		example, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		examples += unindented(string(example))
	}
	blocks := strings.Split(string(guide), "```go\n")[1:]
	if len(blocks) < 5 {
		t.Fatalf("the guide has %d blocks of Go; it had 5", len(blocks))
	}
	for _, block := range blocks {
		code, _, _ := strings.Cut(block, "```")
		if !strings.Contains(examples, unindented(code)) {
			t.Errorf("this code of the guide is in no example; change both:\n%s", code)
		}
	}
}

// unindented is code without the tabs before its lines: what is in a function of an example stands alone in a guide.
func unindented(code string) string {
	lines := strings.Split(code, "\n")
	for i := range lines {
		lines[i] = strings.TrimLeft(lines[i], "\t")
	}
	return strings.Join(lines, "\n")
}
