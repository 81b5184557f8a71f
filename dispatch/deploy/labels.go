package deploy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/internal/wire"
)

// maxLabels is how many labels a resource may have. https://cloud.google.com/resource-manager/docs/labels-overview
const maxLabels = 64

// deadLabels write down, where only who deploys can, what waybill.dev/dispatch/dead must know of a route to send its dead
// letters again without the contracts. All of it are names, which labels can hold.
func deadLabels(app *dispatch.App, r dispatch.RouteInfo) map[string]string {
	labels := map[string]string{
		wire.LabelApp:  app.Name(),
		wire.LabelKind: string(r.Kind),
		wire.LabelTo:   r.To,
	}
	var more []string
	if r.Kind == dispatch.KindTask {
		labels[wire.LabelDeadline] = strconv.FormatInt(r.TransportDeadline.Milliseconds(), 10)
		for _, from := range r.From {
			more = append(more, wire.LabelFrom+from)
		}
	} else {
		labels[wire.LabelEvent] = r.Event
	}
	for _, alias := range r.Aliases {
		more = append(more, wire.LabelAlias+alias)
	}
	for _, name := range more {
		if len(labels) < maxLabels { // what has no room can be sent again with the contracts
			labels[name] = "yes"
		}
	}
	return labels
}

// difference says which labels a subscription that exists lacks, and how to set them, or is empty.
func (s DeadLetterSubscription) difference(got map[string]string) string {
	var set []string
	for _, name := range slices.Sorted(maps.Keys(s.Labels)) {
		if got[name] != s.Labels[name] {
			set = append(set, name+"="+s.Labels[name])
		}
	}
	var unset []string
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := s.Labels[name]; !ok && (strings.HasPrefix(name, wire.LabelFrom) || strings.HasPrefix(name, wire.LabelAlias)) {
			unset = append(unset, name)
		}
	}
	command := ""
	if set != nil {
		command += " --update-labels=" + strings.Join(set, ",")
	}
	if unset != nil {
		command += " --remove-labels=" + strings.Join(unset, ",")
	}
	if command == "" {
		return ""
	}
	return fmt.Sprintf("its labels are not the contracts', and `waybill dead` goes by them; change them with: gcloud pubsub subscriptions update %s%s", s.Name, command)
}
