package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// printer shows the story: as text for people, or as JSON lines.
type printer interface {
	opening([]running)
	step(n int, title string)
	event(event)
	waiting(what string) // empty: no longer
	table([]result) (ok bool)
	closing(lines []string)
}

func newPrinter(w io.Writer, asJSON, terminal bool) printer {
	if asJSON {
		return &jsonPrinter{e: json.NewEncoder(w)}
	}
	return &textPrinter{w: w, terminal: terminal}
}

// jsonPrinter writes one JSON object a line. Its "type" says which.
type jsonPrinter struct {
	mu sync.Mutex
	e  *json.Encoder
}

func (p *jsonPrinter) write(kind string, v any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.e.Encode(map[string]any{"type": kind, kind: v}) // a closed pipe is no reason to stop
}

func (p *jsonPrinter) opening(all []running) {
	for _, r := range all {
		p.write("running", r)
	}
}

func (p *jsonPrinter) step(n int, title string) {
	p.write("step", map[string]any{"n": n, "title": title})
}
func (p *jsonPrinter) event(e event)          { p.write("event", e) }
func (p *jsonPrinter) waiting(string)         {}
func (p *jsonPrinter) closing(lines []string) { p.write("closing", lines) }

func (p *jsonPrinter) table(results []result) bool {
	ok := true
	for _, r := range results {
		ok = ok && r.OK
		p.write("result", r)
	}
	p.write("ok", ok)
	return ok
}

// textPrinter writes for people: with colours and a moving line while it waits on a terminal, plain otherwise.
type textPrinter struct {
	terminal bool

	mu      sync.Mutex
	w       io.Writer
	stop    chan struct{} // ends the moving line
	stopped chan struct{}
}

const (
	plain  = ""
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

// paint colours text on a terminal.
func (p *textPrinter) paint(colour, text string) string {
	if !p.terminal || colour == plain {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// line prints one line, above the moving one if there is any.
func (p *textPrinter) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
	fmt.Fprintf(p.w, format+"\n", args...)
}

func (p *textPrinter) opening(all []running) {
	p.line("%s  login may reach user-profiles, but not search; each service is behind a gate like Cloud Run's", p.paint(bold, "Waybill"))
	p.line("")
	for _, r := range all {
		about := r.About
		if r.Account != "" {
			about = "as " + r.Account
		}
		p.line("  %s", p.paint(dim, fmt.Sprintf("%-13s  %s  %s", r.Name, r.URL, about)))
	}
}

func (p *textPrinter) step(n int, title string) {
	p.line("")
	p.line("%s", p.paint(bold, fmt.Sprintf("%d. %s", n, title)))
}

// look says how an event of a kind is shown.
func look(what string) (sign, colour string) {
	switch what {
	case "sent":
		return "→", cyan
	case "received":
		return "←", green
	case "answered":
		return "↔", green
	case "dropped":
		return "=", yellow
	case "failed":
		return "!", yellow
	case "dead":
		return "†", red
	default:
		return "✗", red
	}
}

func (p *textPrinter) event(e event) {
	sign, colour := look(e.What)
	detail := e.Detail
	if e.Attempt > 1 || e.What == "failed" {
		detail = fmt.Sprintf("attempt %d: %s", e.Attempt, detail)
	}
	p.line("   %s %s  %-13s %s", p.paint(dim, e.Time.Format("15:04:05.000")), p.paint(colour, sign),
		e.Service, detail)
}

// waiting shows a line that moves until it is called again. Where nobody watches it prints nothing.
func (p *textPrinter) waiting(what string) {
	if !p.terminal {
		return
	}
	if p.stop != nil {
		close(p.stop)
		<-p.stopped
		p.stop = nil
	}
	if what == "" {
		return
	}
	p.stop, p.stopped = make(chan struct{}), make(chan struct{})
	go p.spin(what, p.stop, p.stopped)
}

func (p *textPrinter) spin(what string, stop, stopped chan struct{}) {
	defer close(stopped)
	began := time.Now()
	tick := time.NewTicker(80 * time.Millisecond)
	defer tick.Stop()
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	for i := 0; ; i++ {
		select {
		case <-stop:
			p.mu.Lock()
			fmt.Fprint(p.w, "\r\x1b[K")
			p.mu.Unlock()
			return
		case <-tick.C:
			p.mu.Lock()
			fmt.Fprintf(p.w, "\r\x1b[K   %s", p.paint(dim, fmt.Sprintf("%c waiting for %s, %.1f s", frames[i%len(frames)], what, time.Since(began).Seconds())))
			p.mu.Unlock()
		}
	}
}

func (p *textPrinter) table(results []result) bool {
	rows := [][3]string{{"what", "expected", "happened"}}
	good := 0
	for _, r := range results {
		rows = append(rows, [3]string{r.Title, r.Expected, r.Happened})
		if r.OK {
			good++
		}
	}
	var width [3]int
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	p.line("")
	for i, row := range rows {
		mark, colour := " ", bold
		if i > 0 {
			mark, colour = p.paint(green, "✓"), plain
			if !results[i-1].OK {
				mark, colour = p.paint(red, "✗"), red
			}
		}
		cells := pad(row[0], width[0]) + "  " + pad(row[1], width[1]) + "  " + row[2]
		p.line(" %s %s", mark, p.paint(colour, cells))
	}
	p.line("")
	verdict, colour := fmt.Sprintf("all %d as expected", good), green
	if good < len(results) {
		verdict, colour = fmt.Sprintf("%d of %d as expected", good, len(results)), red
	}
	p.line(" %s", p.paint(colour, verdict))
	return good == len(results)
}

func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-utf8.RuneCountInString(s)))
}

func (p *textPrinter) closing(lines []string) {
	p.line("")
	for _, l := range lines {
		p.line("%s", l)
	}
}
