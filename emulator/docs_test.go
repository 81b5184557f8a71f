package emulator_test

import (
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"waybill.dev/emulator"
)

// The table of docs/emulator.md and the emulator's own page list the same, and all of it exists.
func TestEveryDocumentedEndpointExists(t *testing.T) {
	page, err := os.ReadFile("../docs/emulator.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	for _, row := range regexp.MustCompile("(?m)^\\| (GET|POST|DELETE) \\| `(/[^`]*)` \\|").FindAllStringSubmatch(string(page), -1) {
		documented[row[1]+" "+row[2]] = true
	}
	if len(documented) < 19 {
		t.Fatalf("only %d rows were found", len(documented))
	}
	e := start(t, emulator.Config{})
	_, index := request(t, http.MethodGet, e.URL()+"/", nil)
	listed := regexp.MustCompile(`(?m)^(GET|POST|DELETE) +(/_emulator/[a-z-]+(?:/\{id\})?)`).FindAllStringSubmatch(index, -1)
	if len(listed) < 13 {
		t.Errorf("only %d lines were found in\n%s", len(listed), index)
	}
	for _, line := range listed {
		if name := line[1] + " " + line[2]; !documented[name] && !documented[name+"/{account}"] {
			t.Errorf("%s is not in docs/emulator.md", name)
		}
	}

	paths := strings.NewReplacer("{account}", account, "{id}", "1", "computeMetadata/v1/", "computeMetadata/v1/project/project-id")
	for name := range documented {
		method, path, _ := strings.Cut(name, " ")
		r, err := http.NewRequestWithContext(t.Context(), method, e.URL()+paths.Replace(path), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Metadata-Flavor", "Google")
		response := do(t, r)
		missing := response.StatusCode == http.StatusNotFound && path != "/_emulator/skip" && path != "/_emulator/faults/{id}"
		if missing || response.StatusCode == http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", name, response.StatusCode)
		}
	}
	// What is not there is seen as such.
	if status, _ := request(t, http.MethodPost, e.URL()+"/_emulator/ready", nil); status != http.StatusMethodNotAllowed {
		t.Errorf("a wrong method: %d", status)
	}
	if status, _ := request(t, http.MethodGet, e.URL()+"/_emulator/nothing", nil); status != http.StatusNotFound {
		t.Errorf("a wrong path: %d", status)
	}
}

// The file that the page shows is a good one.
func TestTheDocumentedFileIsGood(t *testing.T) {
	page, err := os.ReadFile("../docs/emulator.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```json\n")
	file, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("there is no file")
	}
	resources, err := emulator.ReadResources(strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	start(t, emulator.Config{Resources: resources})
}

// The commands that the page shows work, by their parameters.
func TestTheDocumentedFaultsAreGood(t *testing.T) {
	page, err := os.ReadFile("../docs/emulator.md")
	if err != nil {
		t.Fatal(err)
	}
	e := start(t, emulator.Config{})
	n := 0
	for line := range strings.SplitSeq(string(page), "\n") {
		if !strings.HasPrefix(line, "curl ") || !strings.Contains(line, " -d ") {
			continue
		}
		var query []string
		for _, parameter := range regexp.MustCompile(` -d (\S+)`).FindAllStringSubmatch(line, -1) {
			query = append(query, parameter[1])
		}
		if status, body := request(t, http.MethodPost, e.URL()+"/_emulator/faults?"+strings.Join(query, "&"), nil); status != http.StatusOK {
			t.Errorf("%s: %d %s", line, status, body)
		}
		n++
	}
	if n != 4 {
		t.Errorf("%d commands were found", n)
	}
}
