package main

import (
	"context"
	"slices"

	"waybill.dev/cmd/demo/contracts"
	"waybill.dev/dispatch"
	"waybill.dev/emulator"
)

// openGate puts in front of a service what Cloud Run puts in front of a private one: a gate that lets in whoever holds
// the invoker role, and removes the signature of the token that it has checked. Who holds the role follows from the contracts.
func (s *shop) openGate(ctx context.Context, service, container string) (url string, err error) {
	gate, err := s.emulator.Gate(ctx, emulator.GateConfig{Service: service, Target: container, Invokers: s.invokers(service)})
	if err != nil {
		return "", err
	}
	return gate.URL(), nil
}

// invokers are the accounts that the contracts let reach a service: the declared senders, and the app's push account for
// events. This is the whole of what IAM has to know.
func (s *shop) invokers(service string) []string {
	var members []string
	for _, route := range contracts.App.Routes() {
		if route.To != service {
			continue
		}
		switch route.Kind {
		case dispatch.KindSubscription:
			members = append(members, "serviceAccount:"+s.env.PushAccountOf(contracts.App))
		case dispatch.KindTask, dispatch.KindCall:
			for _, from := range route.From {
				members = append(members, "serviceAccount:"+account(from))
			}
		case dispatch.KindEvent: // its owner receives nothing by it
		}
	}
	slices.Sort(members)
	return slices.Compact(members)
}
