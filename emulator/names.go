package emulator

import (
	"path"
	"strings"
)

// The forms of full names. An id is whatever has no slash: the services say what they think of it.
const (
	queueForm        = "projects/?*/locations/?*/queues/?*"
	subscriptionForm = "projects/?*/subscriptions/?*"
)

func isName(name, form string) bool {
	ok, _ := path.Match(form, name) // the forms are good
	return ok
}

// Names of resources may be short, an id alone. These complete them and leave full ones, and empty ones, alone.

func (c Config) queueName(name string) string {
	return completeName("projects/"+c.Project+"/locations/"+c.Location+"/queues/", name)
}

func (c Config) topicName(name string) string {
	return completeName("projects/"+c.Project+"/topics/", name)
}

func (c Config) subscriptionName(name string) string {
	return completeName("projects/"+c.Project+"/subscriptions/", name)
}

func (c Config) schemaName(name string) string {
	return completeName("projects/"+c.Project+"/schemas/", name)
}

func completeName(collection, name string) string {
	if name == "" || strings.Contains(name, "/") {
		return name
	}
	return collection + name
}

// splitName cuts a full name into its parent and its id: projects/P/topics/T into projects/P and T.
func splitName(name string) (parent, id string) {
	collection, id := path.Split(name)
	return path.Dir(path.Clean(collection)), id
}
