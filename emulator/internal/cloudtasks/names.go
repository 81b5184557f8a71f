package cloudtasks

import "strings"

const (
	locationForm = "projects/PROJECT_ID/locations/LOCATION_ID"
	queueForm    = locationForm + "/queues/QUEUE_ID"
	taskForm     = queueForm + "/tasks/TASK_ID"
)

// checkLocation, checkQueue and checkTask refuse names that are not of their form.

func checkLocation(name string) error {
	if !wellFormed(name, isProject, isLocation) {
		return invalid("%q is not a location name: it must be formatted %q.", name, locationForm)
	}
	return nil
}

func checkQueue(name string) error {
	if !wellFormed(name, isProject, isLocation, isQueue) {
		return invalid("%q is not a queue name: it must be formatted %q, where QUEUE_ID has 1 to 100 letters ([A-Za-z]), numbers ([0-9]) or hyphens (-).", name, queueForm)
	}
	return nil
}

func checkTask(name string) error {
	if !wellFormed(name, isProject, isLocation, isQueue, isTask) {
		return invalid("%q is not a task name: it must be formatted %q, where TASK_ID has 1 to 500 letters ([A-Za-z]), numbers ([0-9]), hyphens (-) or underscores (_).", name, taskForm)
	}
	return nil
}

// wellFormed checks a name that is made of a collection and an id for each of the checks.
func wellFormed(name string, ids ...func(string) bool) bool {
	collections := [...]string{"projects", "locations", "queues", "tasks"}
	for n, isID := range ids {
		collection, rest, _ := strings.Cut(name, "/")
		id, rest, more := strings.Cut(rest, "/")
		if collection != collections[n] || !isID(id) || more != (n < len(ids)-1) {
			return false
		}
		name = rest
	}
	return true
}

func isProject(id string) bool  { return isID(id, 100, "-:.") }
func isLocation(id string) bool { return isID(id, 100, "-") }
func isQueue(id string) bool    { return isID(id, 100, "-") }
func isTask(id string) bool     { return isID(id, 500, "-_") }

func isID(id string, most int, others string) bool {
	if id == "" || len(id) > most {
		return false
	}
	for i := range len(id) {
		c := id[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return true
}

// parentOf is the name without its last collection and id: a task's queue, a queue's location.
func parentOf(name string) string {
	for range 2 {
		name = name[:max(strings.LastIndexByte(name, '/'), 0)]
	}
	return name
}

// shortNames are the ids of a task's queue and of the task itself.
func shortNames(task string) (queueID, taskID string) {
	parts := strings.Split(task, "/")
	if len(parts) != 8 {
		return "", ""
	}
	return parts[5], parts[7]
}
