package store

import "github.com/cockroachdb/pebble/v2"

// operation is a change to the pairs. It does not depend on what is there, so it can be applied again.
type operation struct {
	kind       kind
	key, value []byte // value: of set; of removeRange the end
}

type kind byte

const (
	set kind = iota
	remove
	removeRange
)

func (o operation) addTo(b *pebble.Batch) error {
	switch o.kind {
	case set:
		return b.Set(o.key, o.value, nil)
	case remove:
		return b.Delete(o.key, nil)
	default:
		return b.DeleteRange(o.key, o.value, nil)
	}
}
