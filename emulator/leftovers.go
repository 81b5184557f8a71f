package emulator

import (
	"fmt"
	"strings"
)

// Leftovers are what became of the work that an Emulator had when it was stopped.
type Leftovers struct {
	Finished int // deliveries that were in flight and ended in time
	CutOff   int // deliveries that were broken off; their tasks and messages are among those below

	Tasks    int  // not done, in all queues
	Messages int  // not acknowledged, those of each subscription counted for themselves
	Kept     bool // whether tasks and messages are in Config.Data, for the next start; otherwise they are lost
}

// Leftovers says what was left when the Emulator stopped. Before that it is the zero value.
func (e *Emulator) Leftovers() Leftovers {
	e.leftMu.Lock()
	defer e.leftMu.Unlock()
	return e.left
}

// String is a sentence.
func (l Leftovers) String() string {
	var parts []string
	if l.Finished > 0 {
		parts = append(parts, plural(l.Finished, "delivery", "deliveries")+" in flight ended")
	}
	if l.CutOff > 0 {
		parts = append(parts, plural(l.CutOff, "delivery was", "deliveries were")+" cut off")
	}
	if l.Tasks+l.Messages > 0 {
		var left []string
		if l.Tasks > 0 {
			left = append(left, plural(l.Tasks, "task", "tasks"))
		}
		if l.Messages > 0 {
			left = append(left, plural(l.Messages, "message", "messages"))
		}
		fate := "lost"
		if l.Kept {
			fate = "kept for the next start"
		}
		be := "are"
		if l.Tasks+l.Messages == 1 {
			be = "is"
		}
		parts = append(parts, strings.Join(left, " and ")+" not done "+be+" "+fate)
	}
	if len(parts) == 0 {
		return "Nothing was left."
	}
	return strings.Join(parts, "; ") + "."
}

func plural(n int, one, many string) string {
	if n == 1 {
		return fmt.Sprint(n, " ", one)
	}
	return fmt.Sprint(n, " ", many)
}
