package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report is the table.
type report struct {
	rows   []row
	remark string // on the machine
}

const missed = "MISSED"

type row struct{ what, measured, goal, met string }

// add reports what has no goal.
func (r *report) add(what, format string, values ...any) {
	r.rows = append(r.rows, row{what: what, measured: fmt.Sprintf(format, values...)})
}

// check reports whether a goal is met.
func (r *report) check(what, goal string, met bool, format string, values ...any) {
	word := "met"
	if !met {
		word = missed
	}
	r.rows = append(r.rows, row{what, fmt.Sprintf(format, values...), goal, word})
}

// print writes the table and tells whether every goal is met.
func (r *report) print(w io.Writer) bool {
	fmt.Fprintf(w, "\n%s, %s/%s, %s, %d processors (%s)%s\n\n",
		time.Now().Format(time.DateOnly), runtime.GOOS, runtime.GOARCH, runtime.Version(), runtime.NumCPU(), processor(), r.remark)
	table := tabwriter.NewWriter(w, 0, 0, 1, ' ', 0)
	met := true
	for _, row := range append([]row{{"", "measured", "goal", ""}, {"---", "---", "---", "---"}}, r.rows...) {
		fmt.Fprintf(table, "| %s\t| %s\t| %s\t| %s\t|\n", row.what, row.measured, row.goal, row.met)
		met = met && row.met != missed
	}
	_ = table.Flush() // as Fprintf
	return met
}

// processor is the model, where Linux tells it.
func processor() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown model"
	}
	defer func() { _ = file.Close() }() // it was only read
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown model"
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func megabytes(bytes int64) float64 { return float64(bytes) / 1e6 }
