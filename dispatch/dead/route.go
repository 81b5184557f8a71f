package dead

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/iterator"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/internal/wire"
	"waybill.dev/internal/names"
)

// route is what a replay must know of a task or a subscription.
type route struct {
	kind     dispatch.Kind
	name     string
	aliases  []string
	to       string            // the receiving service
	event    string            // of a subscription
	senders  map[string]string // of a task: the accounts of the services that may send it, by their names
	deadline time.Duration     // of a task: how long Cloud Tasks waits for an answer; 0 for its default

	// endpoint and audience are a task's, as the contracts say; empty if only labels are known.
	endpoint, audience string
}

func (r *route) hasName(name string) bool { return r.name == name || slices.Contains(r.aliases, name) }

// String is as in dispatch: task "send-welcome".
func (r *route) String() string { return fmt.Sprintf("%s %q", r.kind, r.name) }

// declared are the routes of contracts.
func declared(app *dispatch.App, env *dispatch.Environment) []*route {
	var routes []*route
	for _, info := range app.Routes() {
		if info.Kind != dispatch.KindTask && info.Kind != dispatch.KindSubscription {
			continue
		}
		r := &route{kind: info.Kind, name: info.Name, aliases: info.Aliases, to: info.To, event: info.Event}
		if info.Kind == dispatch.KindTask {
			r.deadline = info.TransportDeadline
			r.senders = map[string]string{}
			for _, from := range info.From {
				r.senders[from] = env.Service(app, from).ServiceAccount
			}
			if to := env.Service(app, info.To); to.URL != "" {
				r.endpoint, r.audience = to.URL+info.Path, to.Audience
			}
		}
		routes = append(routes, r)
	}
	return routes
}

// deployed finds an app's routes by the labels of its dead-letter subscriptions.
func (c *Client) deployed(ctx context.Context, app string) (string, []*route, error) {
	apps := map[string][]*route{}
	all := c.google.SubscriptionAdminClient.ListSubscriptions(ctx, &pubsubpb.ListSubscriptionsRequest{Project: "projects/" + c.env.Project, PageSize: 1000})
	for {
		s, err := all.Next()
		if errors.Is(err, iterator.Done) {
			break
		}
		if err != nil {
			return "", nil, fmt.Errorf("dead: listing the subscriptions of project %s: %w", c.env.Project, err)
		}
		owner := s.GetLabels()[wire.LabelApp]
		if r := c.labelled(owner, s); r != nil && (app == "" || app == owner) {
			apps[owner] = append(apps[owner], r)
		}
	}
	switch {
	case len(apps) == 0 && app == "":
		return "", nil, fmt.Errorf("dead: project %s has no dead-letter subscriptions of Waybill's%s; run what calls dispatch/deploy's Create", c.env.Project, c.prefixed())
	case len(apps) == 0:
		return "", nil, fmt.Errorf("dead: project %s has no dead-letter subscriptions of app %q%s; run what calls dispatch/deploy's Create", c.env.Project, app, c.prefixed())
	case len(apps) > 1:
		return "", nil, fmt.Errorf("dead: project %s has several apps: %s; name one", c.env.Project, strings.Join(slices.Sorted(maps.Keys(apps)), ", "))
	}
	for name, routes := range apps {
		return name, present(routes), nil
	}
	panic("unreachable")
}

func (c *Client) prefixed() string {
	if c.env.Prefix == "" {
		return ""
	}
	return fmt.Sprintf(" under the prefix %q", c.env.Prefix)
}

// present leaves out the routes that are another's by now: their subscriptions are read as that one's.
func present(routes []*route) []*route {
	old := map[string]bool{}
	for _, r := range routes {
		for _, alias := range r.aliases {
			old[alias] = true
		}
	}
	routes = slices.DeleteFunc(routes, func(r *route) bool { return old[r.name] })
	slices.SortFunc(routes, func(a, b *route) int { return strings.Compare(a.name, b.name) })
	return routes
}

// labelled is the route that a subscription keeps the dead letters of, or nil.
func (c *Client) labelled(app string, s *pubsubpb.Subscription) *route {
	short := s.GetName()[strings.LastIndexByte(s.GetName(), '/')+1:]
	name, isDead := strings.CutSuffix(short, names.Dead(""))
	name, ours := strings.CutPrefix(name, names.Resource(c.env.Prefix, app, ""))
	if !isDead || !ours || names.Check("route", name, names.MaxName) != nil {
		return nil
	}
	labels := s.GetLabels()
	r := &route{kind: dispatch.Kind(labels[wire.LabelKind]), name: name, to: labels[wire.LabelTo], event: labels[wire.LabelEvent], senders: map[string]string{}}
	if ms, err := strconv.ParseInt(labels[wire.LabelDeadline], 10, 32); err == nil {
		r.deadline = time.Duration(ms) * time.Millisecond
	}
	for _, label := range slices.Sorted(maps.Keys(labels)) {
		if from, ok := strings.CutPrefix(label, wire.LabelFrom); ok {
			r.senders[from] = c.env.Services[from].ServiceAccount
			if r.senders[from] == "" {
				r.senders[from] = names.Account(from, c.env.Project)
			}
		}
		if alias, ok := strings.CutPrefix(label, wire.LabelAlias); ok {
			r.aliases = append(r.aliases, alias)
		}
	}
	return r
}

// sender is the account that a task is sent again as: the one that sent it first, if it still may.
func (r *route) sender(l *Letter) (string, error) {
	for service, account := range r.senders {
		if account != "" && (account == l.Caller || l.Caller == "" && strings.HasSuffix(l.Source, "/"+service)) {
			return account, nil
		}
	}
	who := l.Caller
	if who == "" {
		who = l.Source
	}
	return "", fmt.Errorf("%w: %q sent it, and only %s may send %s now; declare the sender with dispatch.From and deploy it, or discard the letter",
		ErrRefused, who, strings.Join(slices.Sorted(maps.Keys(r.senders)), ", "), r)
}

// target is where a task is sent, and for whom its token is. Of the letter's own word only the path counts: a forged letter
// must not carry a token elsewhere.
func (c *Client) target(r *route, l *Letter) (endpoint, audience string, err error) {
	if r.endpoint != "" {
		return r.endpoint, r.audience, nil
	}
	told, err := url.Parse(l.url)
	if err != nil || l.url == "" {
		told = &url.URL{}
	}
	to := c.env.Services[r.to]
	switch base := strings.TrimSuffix(to.URL, "/"); {
	case base != "":
		u, err := url.Parse(base)
		if err != nil {
			return "", "", fmt.Errorf("%w: the URL of service %q is none: %w", ErrRefused, r.to, err)
		}
		path := strings.TrimPrefix(told.Path, u.Path)
		if !strings.HasPrefix(path, "/") {
			path = "/_waybill/tasks/" + r.name
		}
		if to.Audience == "" {
			to.Audience = u.Scheme + "://" + u.Host
		}
		return base + path, to.Audience, nil
	case c.env.IsEmulated() && isLoopback(told.Hostname()):
		return l.url, told.Scheme + "://" + told.Host, nil
	}
	return "", "", fmt.Errorf("%w: the environment has no URL for service %q, which receives %s; add \"services\": {%q: {\"url\": \"https://...\"}}", ErrRefused, r.to, r, r.to)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (c *Client) resource(name string) string { return names.Resource(c.env.Prefix, c.app, name) }
