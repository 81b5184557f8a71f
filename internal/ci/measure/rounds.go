// Package measure is what the measuring commands of the build share: servers in processes of their own, sides that take
// turns, and the table of what was measured and which goals are met.
package measure

import (
	"context"
	"fmt"
	"io"
	"slices"
)

// Side is one of those that take turns.
type Side struct {
	Name string
	Run  func(context.Context) (float64, error)
}

// Alternate runs each side once a round, since machines drift, and returns each side's median. It tells progress every figure,
// by the format, as "%.0f/s".
func Alternate(ctx context.Context, progress io.Writer, rounds int, format string, sides ...Side) (map[string]float64, error) {
	all := make(map[string][]float64)
	for round := range rounds {
		fmt.Fprintf(progress, "round %d of %d:", round+1, rounds)
		for _, s := range sides {
			figure, err := s.Run(ctx)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.Name, err)
			}
			fmt.Fprintf(progress, "  %s "+format, s.Name, figure)
			all[s.Name] = append(all[s.Name], figure)
		}
		fmt.Fprintln(progress)
	}
	medians := make(map[string]float64)
	for name, figures := range all {
		medians[name] = Median(figures)
	}
	return medians, nil
}

// Median is the middle one, or between the middle two. There must be one at least.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
