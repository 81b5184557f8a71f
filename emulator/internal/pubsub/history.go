package pubsub

import (
	"slices"
	"time"
)

// history keeps what was published to a topic for those who may want it back: subscriptions that
// seek to a time within the topic's retention, and snapshots, of which every later message is a
// part. It is empty where there are neither. The topic's lock guards it.
type history struct {
	publications []publication // by rising numbers
}

func (h *history) add(ps ...publication) {
	for i := range ps {
		ps[i].batch.hold()
	}
	h.publications = append(h.publications, ps...)
}

// trim forgets what was published before t and is not newer than the number oldest, which is that
// of the oldest snapshot.
func (h *history) trim(t time.Time, oldest uint64) {
	n := 0
	for n < len(h.publications) && h.publications[n].seq <= oldest && h.publications[n].published().Before(t) {
		n++
	}
	h.forget(n)
}

// forget lets go of the n first.
func (h *history) forget(n int) {
	for i := range h.publications[:n] {
		h.publications[i].batch.letGo()
	}
	clear(h.publications[:n]) // though the array lives on
	if h.publications = h.publications[n:]; len(h.publications) == 0 {
		h.publications = nil
	}
}

func (h *history) clear() { h.forget(len(h.publications)) }

// after lists what has a higher number than seq. Nobody may change the result.
func (h *history) after(seq uint64) []publication {
	at, _ := slices.BinarySearchFunc(h.publications, seq, func(p publication, seq uint64) int {
		if p.seq <= seq {
			return -1
		}
		return 1
	})
	return h.publications[at:]
}

// since lists what was published at t or later. Nobody may change the result.
func (h *history) since(t time.Time) []publication {
	at, _ := slices.BinarySearchFunc(h.publications, t, func(p publication, t time.Time) int {
		return p.published().Compare(t)
	})
	for at > 0 && !h.publications[at-1].published().Before(t) {
		at--
	}
	return h.publications[at:]
}
