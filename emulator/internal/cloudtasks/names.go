package cloudtasks

import (
	"fmt"
	"strings"
)

// checkLocation, checkQueue and checkTask refuse names that are not of their form. The field is that of the request
// which has the name.

func checkLocation(field, name string) error {
	if !wellFormed(name, isProject, isLocation) {
		return invalid(field, "%q is not a location name: it must be formatted \"projects/PROJECT_ID/locations/LOCATION_ID\".", name)
	}
	return nil
}

func checkProject(field, name string) error {
	if !wellFormed(name, isProject) {
		return invalid(field, "%q is not a project name: it must be formatted \"projects/PROJECT_ID\".", name)
	}
	return nil
}

func checkQueue(name string) error {
	const anchor = "queues#Queue.FIELDS.name"
	switch {
	case wellFormed(name, isProject, isLocation, isQueue):
		return nil
	case wellFormed(name, isProject, isLocation, isAny):
		// By analogy with a task's: not confirmed.
		id := name[strings.LastIndexByte(name, '/')+1:]
		return misnamed(fmt.Sprintf("Queue ID %q can contain only letters ([A-Za-z]), numbers ([0-9]), or hyphens (-). Queue ID must between 1 and 100 characters.", id), "queue ID", anchor)
	default:
		return misnamed(`Queue name must be formatted: "projects/<PROJECT_ID>/locations/<LOCATION_ID>/queues/<QUEUE_ID>".`, "queue name", anchor)
	}
}

func checkTask(name string) error {
	const anchor = "queues.tasks#Task.FIELDS.name"
	switch {
	case wellFormed(name, isProject, isLocation, isQueue, isTask):
		return nil
	case wellFormed(name, isProject, isLocation, isQueue, isAny):
		id := name[strings.LastIndexByte(name, '/')+1:]
		return misnamed(fmt.Sprintf("Task ID %q can contain only letters ([A-Za-z]), numbers ([0-9]), hyphens (-), or underscores (_). Task ID must between 1 and 500 characters.", id), "task ID", anchor)
	default:
		return refused(`Task name must be formatted: "projects/<PROJECT_ID>/locations/<LOCATION_ID>/queues/<QUEUE_ID>/tasks/<TASK_ID>"`)
	}
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
func isAny(string) bool         { return true }

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

// projectOf is the id of the project of any name.
func projectOf(name string) string {
	_, rest, _ := strings.Cut(name, "/")
	id, _, _ := strings.Cut(rest, "/")
	return id
}
