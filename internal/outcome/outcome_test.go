package outcome_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"testing"
	"time"

	"waybill.dev/internal/outcome"
)

func TestMarksSurviveWrapping(t *testing.T) {
	err := fmt.Errorf("outer: %w", outcome.Permanent(fmt.Errorf("inner: %w", io.EOF)))
	if !outcome.IsPermanent(err) || !errors.Is(err, io.EOF) || err.Error() != "outer: inner: EOF" {
		t.Errorf("Permanent: %v, permanent %v", err, outcome.IsPermanent(err))
	}
	err = errors.Join(io.ErrClosedPipe, outcome.RetryAfter(3*time.Second, io.EOF))
	if d, ok := outcome.RetryAfterOf(err); !ok || d != 3*time.Second || !errors.Is(err, io.EOF) {
		t.Errorf("RetryAfterOf = %v, %v", d, ok)
	}
	if d, ok := outcome.RetryAfterOf(outcome.RetryAfter(-time.Second, io.EOF)); !ok || d != 0 {
		t.Errorf("a negative delay: %v, %v", d, ok)
	}
}

func TestNilAndUnmarked(t *testing.T) {
	if outcome.Permanent(nil) != nil || outcome.RetryAfter(time.Second, nil) != nil {
		t.Error("a mark made an error of nil")
	}
	if outcome.IsPermanent(io.EOF) || outcome.IsPermanent(nil) {
		t.Error("an unmarked error is permanent")
	}
	if _, ok := outcome.RetryAfterOf(io.EOF); ok {
		t.Error("an unmarked error has a delay")
	}
}

func TestPanicUnwrapsToItsError(t *testing.T) {
	if !errors.Is(&outcome.Panic{Value: io.EOF}, io.EOF) {
		t.Error("the panic's error is lost")
	}
	if got := (&outcome.Panic{Value: "boom"}).Error(); got != "the handler panicked: boom" {
		t.Error(got)
	}
}

func TestUndecodable(t *testing.T) {
	err := fmt.Errorf("outer: %w", outcome.Undecodable(io.EOF))
	if !outcome.IsUndecodable(err) || !errors.Is(err, io.EOF) || outcome.IsUndecodable(io.EOF) || outcome.Undecodable(nil) != nil {
		t.Errorf("%v, undecodable %v", err, outcome.IsUndecodable(err))
	}
}

func TestBefore(t *testing.T) {
	for _, test := range []struct {
		attempt, maxAttempts int
		run                  bool
	}{
		{1, 0, true},
		{math.MaxInt, 0, true}, // no limit
		{1, 1, true},
		{100, 1, true}, // an outage of a hundred attempts costs nothing
		{101, 1, false},
		{101, 8, false},
		{101, 20, true},
		{209, 20, true},
		{210, 20, false},
		{math.MaxInt, math.MaxInt, true},
	} {
		if got := outcome.Before(test.attempt, test.maxAttempts); got != test.run {
			t.Errorf("Before(%d, %d) = %v", test.attempt, test.maxAttempts, got)
		}
	}
}

func TestAfter(t *testing.T) {
	later := outcome.RetryAfter(time.Minute, io.EOF)
	for _, test := range []struct {
		name                 string
		attempt, maxAttempts int
		err                  error
		verdict              outcome.Verdict
		delay                time.Duration
	}{
		{"success", 1, 3, nil, outcome.Done, 0},
		{"success beyond the last", 9, 3, nil, outcome.Done, 0},
		{"first of three", 1, 3, io.EOF, outcome.Retry, 0},
		{"last of three", 3, 3, io.EOF, outcome.DeadLetter, 0},
		{"beyond the last", 4, 3, io.EOF, outcome.DeadLetter, 0},
		{"no limit", 1000, 0, io.EOF, outcome.Retry, 0},
		{"permanent at the first", 1, 3, outcome.Permanent(io.EOF), outcome.DeadLetter, 0},
		{"permanent without a limit", 1, 0, outcome.Permanent(io.EOF), outcome.DeadLetter, 0},
		{"a pause", 1, 3, later, outcome.Retry, time.Minute},
		{"a pause at the last", 3, 3, later, outcome.DeadLetter, 0},
		{"permanent wins over a pause", 1, 3, outcome.RetryAfter(time.Second, outcome.Permanent(io.EOF)), outcome.DeadLetter, 0},
		{"a panic", 1, 3, &outcome.Panic{Value: 1}, outcome.Retry, 0},
	} {
		if v, d := outcome.After(test.attempt, test.maxAttempts, test.err); v != test.verdict || d != test.delay {
			t.Errorf("%s: After = %v, %v; want %v, %v", test.name, v, d, test.verdict, test.delay)
		}
	}
}
