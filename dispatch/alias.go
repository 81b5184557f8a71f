package dispatch

import (
	"slices"

	"waybill.dev/internal/names"
)

// Alias declares a name that a task, a subscription or a call had before, so that what is in flight under it still arrives
// while the services are rolled out one by one: the receiver serves the old name's path too, and the same handler gets it. The
// log and the dead letters show the name that a message came by, and [Message].Alias has it.
//
// The old queue or subscription stays in the project as long as nobody deletes it, and waybill.dev/dispatch/deploy says that
// it is there. To retire an alias: roll out every sender and the receiver with the new name, wait until the old queue or
// subscription is empty, delete it, and remove the Alias.
//
// While an old subscription exists, each event comes by both names, with one ID. A handler that does not bear it needs
// waybill.dev/dispatch/inbox, which goes by the ID and the route's present name. A [Key] is part of the ID together with the
// route's name, so a key that was sent under the old name is another message under the new one.
type Alias string

func (o Alias) applyTask(r *route)         { r.aliases = append(r.aliases, string(o)) }
func (o Alias) applySubscription(r *route) { r.aliases = append(r.aliases, string(o)) }
func (o Alias) applyCall(r *route)         { r.aliases = append(r.aliases, string(o)) }

func (r *route) validateAliases(p func(string, ...any)) {
	for _, alias := range r.aliases {
		if err := names.Check("dispatch.Alias", alias, names.MaxName); err != nil {
			p("%w", err)
		}
	}
}

// alias is the old name that this endpoint's messages come by, or empty.
func (at *receiver) alias() string {
	if at.name == at.route.name {
		return ""
	}
	return at.name
}

// hasName reports whether name is the route's, or was.
func (r *route) hasName(name string) bool { return name == r.name || slices.Contains(r.aliases, name) }

// pathOf is where messages arrive that come by a name of the route: its own, or an alias.
func (r *route) pathOf(name string) string {
	if name == r.name {
		return r.path
	}
	return defaultPath(r.kind, name)
}
