package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/dead"
)

// maxShownCause is the length, in characters, up to which a list shows a cause; show has all of it.
const maxShownCause = 80

// letterJSON is a dead letter for programs. The body is there only if it was asked for.
type letterJSON struct {
	ID          string            `json:"id"`
	Route       string            `json:"route"`
	Alias       string            `json:"alias,omitempty"`
	Kind        dispatch.Kind     `json:"kind"`
	Event       string            `json:"event,omitempty"`
	Cause       string            `json:"cause"`
	Attempts    int               `json:"attempts"`
	Replays     int               `json:"replays"`
	SentAt      time.Time         `json:"sent_at,omitzero"`
	LastAttempt time.Time         `json:"last_attempt,omitzero"`
	Died        time.Time         `json:"died"`
	Source      string            `json:"source,omitempty"`
	Caller      string            `json:"caller,omitempty"`
	OrderingKey string            `json:"ordering_key,omitempty"`
	Headers     map[string]string `json:"headers"`
	ByPlatform  bool              `json:"by_platform"`
	Copies      int               `json:"copies"`
	Size        int               `json:"size"` // of the body, in bytes
	Body        []byte            `json:"body,omitempty"`
}

func lettersJSON(letters []dead.Letter, body bool) []letterJSON {
	list := make([]letterJSON, len(letters)) // [] and not null where there are none
	for i, l := range letters {
		list[i] = letterJSON{
			ID: l.ID, Route: l.Route, Alias: l.Alias, Kind: l.Kind, Event: l.Event, Cause: l.Cause, Attempts: l.Attempts, Replays: l.Replays,
			SentAt: l.SentAt, LastAttempt: l.LastAttempt, Died: l.Died, Source: l.Source, Caller: l.Caller, OrderingKey: l.OrderingKey, Headers: l.Headers,
			ByPlatform: l.ByPlatform, Copies: l.Copies, Size: len(l.Body),
		}
		if body {
			list[i].Body = l.Body
		}
	}
	return list
}

type resultJSON struct {
	ID        string `json:"id"`
	Route     string `json:"route"`
	Number    int    `json:"number"`
	To        string `json:"to,omitempty"`
	As        string `json:"as,omitempty"`
	Name      string `json:"name,omitempty"`
	Duplicate bool   `json:"duplicate"`
	Error     string `json:"error,omitempty"`
}

func resultsJSON(results []dead.Result) []resultJSON {
	list := make([]resultJSON, len(results))
	for i, r := range results {
		list[i] = resultJSON{ID: r.Letter.ID, Route: r.Letter.Route, Number: r.Number, To: r.To, As: r.As, Name: r.Name, Duplicate: r.Duplicate}
		if r.Err != nil {
			list[i].Error = r.Err.Error()
		}
	}
	return list
}

func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// printLetters prints a line for each.
func printLetters(w io.Writer, letters []dead.Letter) error {
	if len(letters) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DIED\tROUTE\tATTEMPTS\tREPLAYS\tID\tCAUSE")
	for _, l := range letters {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\t%s\n", l.Died.Format(time.RFC3339), l.Route, l.Attempts, l.Replays, printable(l.ID), shorten(printable(l.Cause)))
	}
	return table.Flush()
}

// printLetter prints all that is known of one, but its body only if it was asked for.
func printLetter(w io.Writer, l *dead.Letter, body bool) {
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%-13s %s\n", name, printable(value))
		}
	}
	line("id", l.ID)
	line("route", fmt.Sprintf("%s (%s)", l.Route, l.Kind))
	line("alias", l.Alias)
	line("event", l.Event)
	line("cause", l.Cause)
	line("attempts", strconv.Itoa(l.Attempts))
	line("replays", strconv.Itoa(l.Replays))
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"sent", l.SentAt}, {"last attempt", l.LastAttempt}, {"died", l.Died}} {
		if !t.at.IsZero() {
			line(t.name, t.at.Format(time.RFC3339Nano))
		}
	}
	line("source", l.Source)
	line("caller", l.Caller)
	line("ordering key", l.OrderingKey)
	if l.Copies > 1 {
		line("copies", strconv.Itoa(l.Copies))
	}
	line("body", fmt.Sprintf("%d bytes", len(l.Body)))
	fmt.Fprintln(w, "headers")
	for _, name := range slices.Sorted(maps.Keys(l.Headers)) {
		fmt.Fprintf(w, "  %s: %s\n", printable(name), printable(l.Headers[name]))
	}
	if body {
		fmt.Fprintf(w, "\n%s\n", printableText(l.Body))
	}
}

func printResults(w io.Writer, verb string, results []dead.Result) {
	for _, r := range results {
		if r.Err != nil {
			continue // the error says so
		}
		as := ""
		if r.As != "" {
			as = " as " + r.As
		}
		known := ""
		if r.Duplicate {
			known = ", which had been accepted before"
		}
		fmt.Fprintf(w, "%s %s %s (replay %d) to %s%s%s\n", verb, r.Letter.Route, printable(r.Letter.ID), r.Number, r.To, as, known)
	}
}

// printable makes one line of a text that came from elsewhere, without what a terminal could take for commands.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}

// printableText is a body as a terminal may show it: text with its line breaks, all else quoted.
func printableText(body []byte) string {
	text := strings.ReplaceAll(string(body), "\r\n", "\n")
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' && r != '\t' }) {
		return strconv.Quote(string(body))
	}
	return text
}

func shorten(s string) string {
	if utf8.RuneCountInString(s) <= maxShownCause {
		return s
	}
	return string([]rune(s)[:maxShownCause-3]) + "..."
}
