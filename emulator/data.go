package emulator

import (
	"encoding/binary"
	"fmt"
	"time"

	"waybill.dev/emulator/internal/clock"
	"waybill.dev/emulator/internal/store"
)

// offsetKey is of what the clock was advanced by, in nanoseconds. The store's other keys begin with a service's letter.
const offsetKey = "eoffset"

// openData opens Config.Data, if it is set, and lets the clock go on from where it was: the time of an emulator never
// goes back, not even over a restart.
func openData(c Config, clock *clock.Clock) (*store.Store, error) {
	if c.Data == "" {
		return nil, nil //nolint:nilnil // a nil Store keeps nothing
	}
	s, err := store.Open(store.Config{Dir: c.Data, Logger: c.Logger})
	if err != nil {
		return nil, fmt.Errorf("emulator: Config.Data: %w", err)
	}
	if err := s.Scan([]byte(offsetKey), func(_, value []byte) error {
		if len(value) == 8 {
			clock.Advance(time.Duration(binary.BigEndian.Uint64(value)))
		}
		return nil
	}); err != nil {
		_ = s.Close() // nothing was written
		return nil, fmt.Errorf("emulator: Config.Data: %w", err)
	}
	clock.OnMove(func(offset time.Duration) {
		s.Set([]byte(offsetKey), binary.BigEndian.AppendUint64(nil, uint64(offset)))
	})
	return s, nil
}

// keepClock makes the clock's offset durable. What follows from the new time is written after it in any case.
func (e *Emulator) keepClock() {
	if err := e.store.Sync(); err != nil {
		e.config.Logger.Error("the clock will be behind at the next start", "error", err)
	}
}
