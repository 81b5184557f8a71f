package dispatch

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"waybill.dev/dispatch/internal/wire"
)

// CloudEvents 1.0 attributes in binary mode: HTTP headers on tasks and calls, message attributes on Pub/Sub.
// The lower-case spellings are the attributes' names; HTTP does not mind the case.
const (
	attrID          = "ce-id"
	attrSource      = "ce-source"
	attrType        = "ce-type"
	attrSpecVersion = "ce-specversion"
	attrTime        = "ce-time"
	attrDataSchema  = "ce-dataschema" // see Version
	attrExpiry      = "ce-expirytime" // see Expires; an extension that CloudEvents documents
	attrReplay      = wire.Replay     // how often a dead letter was sent again
	attrContentType = "content-type"
	attrTraceParent = "traceparent"
	attrTraceState  = "tracestate"

	specVersion = "1.0"
)

// attributes is what every message carries beside its body.
func (d *Dispatcher) attributes(ctx context.Context, r *route, id string, now time.Time) map[string]string {
	a := make(map[string]string, 8)
	a[attrID] = id
	a[attrSource] = d.source
	a[attrType] = r.ceType
	a[attrSpecVersion] = specVersion
	a[attrTime] = now.UTC().Format(time.RFC3339Nano)
	a[attrContentType] = r.codec.ContentType()
	if r.schema != nil && r.schema.current > 1 {
		a[attrDataSchema] = r.dataSchema()
	}
	injectTrace(ctx, propagation.MapCarrier(a))
	return a
}

// injectTrace writes the trace context of ctx, in W3C's form (https://www.w3.org/TR/trace-context/). Without one it starts a
// trace that is not sampled, so that what a message causes can still be found by its trace id. It runs for every message,
// and OpenTelemetry's own propagator formats it by fmt.
func injectTrace(ctx context.Context, carrier propagation.TextMapCarrier) {
	s := trace.SpanContextFromContext(ctx)
	if !s.IsValid() {
		s = newTrace()
	}
	traceID, spanID := s.TraceID(), s.SpanID()
	parent := make([]byte, 0, len("00-")+32+len("-")+16+len("-00"))
	parent = append(parent, "00-"...)
	parent = hex.AppendEncode(parent, traceID[:])
	parent = append(parent, '-')
	parent = hex.AppendEncode(parent, spanID[:])
	parent = append(parent, '-')
	parent = hex.AppendEncode(parent, []byte{byte(s.TraceFlags())})
	carrier.Set(attrTraceParent, string(parent))
	// The state comes from outside; Pub/Sub takes no longer attribute.
	if state := s.TraceState(); state.Len() > 0 {
		if text := state.String(); len(text) <= maxAttributeValue {
			carrier.Set(attrTraceState, text)
		}
	}
}

func newTrace() trace.SpanContext {
	var random [24]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the process instead
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(random[:16]),
		SpanID:  trace.SpanID(random[16:]),
	})
}

// received makes the context of what arrived, with what is known of it. carrier reads an attribute; fallbackID is the
// transport's own, for a message that somebody sent without Waybill.
func (at *receiver) received(ctx context.Context, carrier propagation.TextMapCarrier, fallbackID string) (context.Context, *inflight) {
	ctx = propagation.TraceContext{}.Extract(ctx, carrier)
	f := &inflight{
		Message: Message{
			ID:     firstOf(carrier.Get(attrID), fallbackID),
			Route:  at.route.name,
			Alias:  at.alias(),
			Source: carrier.Get(attrSource),
			Via:    at.route.kind.via(),
		},
	}
	if t, err := time.Parse(time.RFC3339Nano, carrier.Get(attrTime)); err == nil {
		f.PublishedAt = t
	}
	return context.WithValue(ctx, messageKey{}, f), f
}
