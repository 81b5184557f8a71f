package measure

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is the table.
type Report struct {
	Columns []string // of what is measured
	Remarks []string // on the machine and on what is missing
	rows    []row
	missed  bool
}

type row struct {
	what     string
	measured []string // one for each column; those at the end may be left out
	goal     string
	met      string
}

// Add reports what has no goal.
func (r *Report) Add(what string, measured ...string) {
	r.rows = append(r.rows, row{what: what, measured: measured})
}

// Check reports whether a goal is met.
func (r *Report) Check(what, goal string, met bool, measured ...string) {
	word := "met"
	if !met {
		word, r.missed = "MISSED", true
	}
	r.rows = append(r.rows, row{what, measured, goal, word})
}

// Print writes the table and tells whether every goal is met.
func (r *Report) Print(w io.Writer) bool {
	fmt.Fprintf(w, "\n%s\n\n", strings.Join(append([]string{machine()}, r.Remarks...), ", "))
	table := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	line := func(what string, measured []string, goal, met string) {
		cells := append([]string{what}, measured...)
		cells = append(cells, slices.Repeat([]string{""}, len(r.Columns)-len(measured))...)
		fmt.Fprintf(table, "| %s\t|\n", strings.Join(append(cells, goal, met), "\t| "))
	}
	line("", r.Columns, "goal", "")
	line("---", slices.Repeat([]string{"---"}, len(r.Columns)), "---", "---")
	for _, row := range r.rows {
		line(row.what, row.measured, row.goal, row.met)
	}
	_ = table.Flush() // as Fprintf
	return !r.missed
}

// Milliseconds is d as a number.
func Milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// Megabytes is a number of bytes in millions.
func Megabytes(bytes int64) float64 { return float64(bytes) / 1e6 }
