// Package names is the one place where Waybill's names become Google's resource names.
//
// A resource is [PREFIX--]APP--NAME. Two hyphens separate, and no name may hold two in a row: with
// a single one, app "shop-a" with route "b" and app "shop" with route "a-b" would share a queue.
package names

import (
	"fmt"
	"strconv"
	"strings"
)

// Limits of length, in bytes. The longest resource, PREFIX--APP--NAME--dead, is then 100 long, which is
// what a Cloud Tasks queue id may have; Pub/Sub allows 255. The longest queue, PREFIX--APP--NAME--100, is one shorter.
const (
	MaxPrefix = 20
	MaxApp    = 30
	MaxName   = 40
	MaxShards = 100
)

const (
	separator  = "--"
	deadSuffix = "dead"
)

// Check says what is wrong with the name of an app, a service or a route, or nil.
// What is the word for it in the error ("app", "service", "task", ...).
func Check(what, name string, maxLen int) error {
	switch {
	case name == "":
		return fmt.Errorf("%s without a name: give it one of lower-case letters, digits and hyphens", what)
	case len(name) > maxLen:
		return fmt.Errorf("%s %q: the name has %d characters; shorten it to %d at most", what, name, len(name), maxLen)
	case strings.Contains(name, separator):
		return fmt.Errorf("%s %q: two hyphens in a row separate the parts of a resource's name; use one", what, name)
	case strings.HasPrefix(name, "goog"):
		return fmt.Errorf("%s %q: Pub/Sub reserves names that start with \"goog\"; choose another", what, name)
	case name == deadSuffix:
		return fmt.Errorf("%s %q: dead-letter topics end in that word; choose another", what, name)
	case !wellFormed(name):
		return fmt.Errorf("%s %q: use lower-case letters, digits and single hyphens, with a letter first and no hyphen last", what, name)
	}
	return nil
}

func wellFormed(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z'
		digit := '0' <= c && c <= '9'
		if !letter && (i == 0 || !digit && c != '-') {
			return false
		}
	}
	return name[len(name)-1] != '-'
}

// Resource is the short name that a route's queue, topic or subscription has.
func Resource(prefix, app, name string) string {
	if prefix == "" {
		return app + separator + name
	}
	return prefix + separator + app + separator + name
}

// Queue is the full name of a task route's queue.
func Queue(project, location, resource string) string {
	return "projects/" + project + "/locations/" + location + "/queues/" + resource
}

// Shard is the short name of the nth of several queues of one task route, counted from 1. The first has the name that a
// single queue has. No other resource can have the others' names: a route's name begins with a letter.
func Shard(resource string, n int) string {
	if n == 1 {
		return resource
	}
	return resource + separator + strconv.Itoa(n)
}

// Topic is the full name of a topic.
func Topic(project, resource string) string {
	return "projects/" + project + "/topics/" + resource
}

// Subscription is the full name of a subscription.
func Subscription(project, resource string) string {
	return "projects/" + project + "/subscriptions/" + resource
}

// Dead is the short name of a route's dead-letter topic and of the subscription that keeps what lands there.
func Dead(resource string) string { return resource + separator + deadSuffix }

// Account is the default service account of a service, or of an app's pushes.
func Account(name, project string) string {
	return name + "@" + project + ".iam.gserviceaccount.com"
}

// PushAccount is the default name of the account that an app's push subscriptions sign with.
func PushAccount(app string) string { return app + "-push" }
