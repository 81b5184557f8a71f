package dead

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// Query says which dead letters are meant. The zero value means all.
type Query struct {
	// Route is the name of a task or a subscription. Default: all of them.
	Route string
	// ID is a message's. An event can be dead at several subscriptions, with one ID.
	ID string
	// Match chooses among them. It may be called by several goroutines at once. Default: all.
	Match func(Letter) bool
	// Limit bounds how many are read of each route. Default 1000. [Client.Replay] reads so many at a time, until it has seen all.
	Limit int
}

const (
	defaultLimit = 1000
	atOnce       = 8 // routes that are read at the same time
)

func (q Query) limit() int {
	if q.Limit <= 0 {
		return defaultLimit
	}
	return q.Limit
}

func (q Query) matches(l Letter) bool {
	return (q.ID == "" || q.ID == l.ID) && (q.Match == nil || q.Match(l))
}

// Listing is what a look at the dead letters has found.
type Listing struct {
	Letters []Letter // the oldest death first
	More    bool     // a route was not read to its end: there may be others
}

// List reads dead letters and leaves them where they are. Each is listed once, by its route and ID, however many copies there are.
//
// At most Query.Limit of each route are read, and no more than 64 MiB of bodies; what Pub/Sub gives first is not the oldest.
// After an error the listing has what was read.
func (c *Client) List(ctx context.Context, q Query) (Listing, error) {
	routes, err := c.asked(q.Route)
	if err != nil {
		return Listing{}, err
	}
	var (
		listing Listing
		mu      sync.Mutex
		group   errgroup.Group
	)
	group.SetLimit(atOnce)
	for _, r := range routes {
		group.Go(func() error {
			rd := c.reader(r)
			defer rd.release(ctx)
			copies, err := rd.next(ctx, q.limit())
			mu.Lock()
			defer mu.Unlock()
			listing.More = listing.More || !rd.done()
			for _, f := range merge(copies) {
				if q.matches(f.letter) {
					listing.Letters = append(listing.Letters, f.letter)
				}
			}
			return err
		})
	}
	err = group.Wait()
	slices.SortFunc(listing.Letters, byDeath)
	return listing, err
}

// Find reads one dead letter and leaves it where it is. Without a route it looks at all of them; an ID that is dead on several is
// then an error. [ErrNotFound] says that it was not seen.
func (c *Client) Find(ctx context.Context, route, id string) (Letter, error) {
	if id == "" {
		return Letter{}, errors.New("dead: Find got no ID; give a message's")
	}
	listing, err := c.List(ctx, Query{Route: route, ID: id})
	switch {
	case err != nil:
		return Letter{}, err
	case len(listing.Letters) == 0:
		return Letter{}, notFound(route, id, listing.More)
	case len(listing.Letters) > 1:
		routes := make([]string, len(listing.Letters))
		for i, l := range listing.Letters {
			routes[i] = l.Route
		}
		return Letter{}, fmt.Errorf("dead: message %s is dead on several routes: %s; name one", id, strings.Join(routes, ", "))
	}
	return listing.Letters[0], nil
}

func notFound(route, id string, more bool) error {
	where := "on any route"
	if route != "" {
		where = "on route " + route
	}
	hint := "; it may be sent again by now, or somebody else looks at it: wait a minute"
	if more {
		hint = "; not all dead letters were read: name the route"
	}
	return fmt.Errorf("dead: %w: message %s %s%s", ErrNotFound, id, where, hint)
}

// Discard removes a dead letter for good, with all its copies. Nobody gets the message any more.
func (c *Client) Discard(ctx context.Context, route, id string) error {
	if route == "" || id == "" {
		return errors.New("dead: Discard needs a route and an ID; List shows both")
	}
	routes, err := c.asked(route)
	if err != nil {
		return err
	}
	rd := c.reader(routes[0])
	defer rd.release(ctx)
	seen := false
	for !rd.done() {
		copies, err := rd.next(ctx, defaultLimit)
		if err != nil {
			return err
		}
		for _, l := range copies {
			if l.letter.ID != id {
				l.letter.Body = nil // it is only held so that it is not read again
				continue
			}
			if err := rd.acknowledge(ctx, []*leased{l}); err != nil {
				return err
			}
			seen = true
		}
	}
	if !seen {
		return notFound(route, id, false)
	}
	return nil
}
