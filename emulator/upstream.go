package emulator

import (
	"context"
	"net/http"
	"time"

	"waybill.dev/emulator/internal/pubsub/upstream"
)

// upstreamPath is where Google's emulator pushes to.
const upstreamPath = "/_emulator/upstream/"

// googles is Google's own Pub/Sub emulator, behind a proxy that signs its pushes.
type googles struct{ *upstream.Proxy }

func newUpstream(e *Emulator, config Config, client *http.Client) (googles, error) {
	proxy, err := upstream.New(upstream.Config{
		Upstream:   config.PubSubUpstream,
		PushURL:    e.URL() + upstreamPath,
		Signer:     e.issuer,
		HTTPClient: client,
		Logger:     config.Logger,
	})
	return googles{proxy}, err
}

// Load does nothing: Google's emulator keeps no data.
func (g googles) Load() error { return nil }

// Start does nothing: nothing was loaded.
func (g googles) Start() {}

// Reset does nothing: the topics are Google's emulator's.
func (g googles) Reset() {}

// NextDelivery knows nothing of Google's emulator's clock.
func (g googles) NextDelivery() (next time.Time, ok bool) { return time.Time{}, false }

// Unacknowledged is 0: the messages are Google's emulator's.
func (g googles) Unacknowledged() int { return 0 }

// Drain does nothing: pushes come from Google's emulator.
func (g googles) Drain() {}

// Close ends what is under way.
func (g googles) Close(context.Context) error { return g.Proxy.Close() }
