package cloudtasks

import (
	"regexp"
	"strings"
	"testing"
)

func FuzzNames(f *testing.F) {
	for _, name := range []string{
		"", "/", "projects", location, queueA, queueA + "/tasks/1", queueA + "/tasks/", queueA + "/tasks/a/b",
		"projects/example.com:shop/locations/l/queues/q/tasks/t", "projects//locations/l/queues/q",
		queueA + "/tasks/" + strings.Repeat("x", 500), queueA + "/tasks/" + strings.Repeat("x", 501),
		location + "/queues/" + strings.Repeat("q", 101), location + "/queues/a_b", queueA + "/tasks/ä", queueA + "\n",
	} {
		f.Add(name)
	}
	const project, id = `projects/[A-Za-z0-9.:-]{1,100}`, `[A-Za-z0-9-]{1,100}`
	forms := []struct {
		check func(string) error
		form  *regexp.Regexp
	}{
		{func(name string) error { return checkLocation("name", name) }, regexp.MustCompile(`\A` + project + `/locations/` + id + `\z`)},
		{checkQueue, regexp.MustCompile(`\A` + project + `/locations/` + id + `/queues/` + id + `\z`)},
		{checkTask, regexp.MustCompile(`\A` + project + `/locations/` + id + `/queues/` + id + `/tasks/` + taskIDPattern + `\z`)},
	}
	f.Fuzz(func(t *testing.T, name string) {
		for n, c := range forms {
			if got, want := c.check(name) == nil, c.form.MatchString(name); got != want {
				t.Errorf("check %d of %q: %v, want %v", n, name, got, want)
			}
		}
		if checkTask(name) == nil {
			queueID, taskID := shortNames(name)
			if again := parentOf(parentOf(name)) + "/queues/" + queueID + "/tasks/" + taskID; again != name {
				t.Errorf("%q came apart as %q", name, again)
			}
			if checkQueue(parentOf(name)) != nil || checkLocation("name", parentOf(parentOf(name))) != nil {
				t.Errorf("%q has bad parents", name)
			}
		}
	})
}

// A repetition in a regular expression may be 1000 at most, and nested ones less.
const taskIDPattern = `[A-Za-z0-9_-]{1,500}`
