package outbox

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"waybill.dev/dispatch"
)

// tally is what became of a batch.
type tally struct {
	sent   int
	failed int
	parked int
	first  error // of those that failed
	closed bool  // the dispatcher was shut down
	lost   error // what was sent could not be marked, and will be sent again
}

// stuckAt is how many failures, and no success, say that the way is blocked. Fewer may have reasons of their own, and must not hold up others.
const stuckAt = 16

// stuck reports whether the way itself seems to be blocked, rather than single messages.
func (t tally) stuck() bool { return t.sent == 0 && t.failed-t.parked >= stuckAt }

// send sends a batch and marks what became of its rows. The messages of an ordering key go one after the other, and the rest of a key
// stays when one of it fails; all others go side by side.
func (b *Outbox) send(ctx context.Context, taken batch) tally {
	// A quarter of the lease is left for marking. A send that is still under way then may end either way, and is made again.
	sending, cancel := context.WithDeadline(ctx, taken.until.Add(-b.config.Lease/4))
	defer cancel()
	errs := make([]error, len(taken.rows))
	var all sync.WaitGroup
	for _, group := range groups(taken.rows) {
		select {
		case b.sending <- struct{}{}:
		case <-sending.Done():
			untried(errs, group)
			continue
		}
		all.Go(func() {
			defer func() { <-b.sending }()
			for i, index := range group {
				if errs[index] = b.sendOne(sending, &taken.rows[index]); errs[index] != nil {
					untried(errs, group[i+1:])
					return
				}
			}
		})
	}
	all.Wait()
	return b.conclude(ctx, taken, errs)
}

// errUntried marks a row whose turn did not come.
var errUntried = errors.New("not tried")

func untried(errs []error, group []int) {
	for _, index := range group {
		errs[index] = errUntried
	}
}

func (b *Outbox) sendOne(ctx context.Context, r *row) error {
	switch {
	case ctx.Err() != nil:
		return errUntried
	case r.broken != nil:
		return r.broken
	}
	_, err := b.forward(ctx, r.envelope)
	return err
}

// groups are the rows, by index, that go one after the other.
func groups(rows []row) [][]int {
	list := make([][]int, 0, len(rows))
	of := map[key]int{}
	for i := range rows {
		e := &rows[i].envelope
		k := key{e.Route, e.OrderingKey}
		if at, ok := of[k]; ok {
			list[at] = append(list[at], i)
			continue
		}
		if k.OrderingKey != "" {
			of[k] = len(list)
		}
		list = append(list, []int{i})
	}
	return list
}

// conclude marks a batch's rows and logs what did not go well.
func (b *Outbox) conclude(ctx context.Context, taken batch, errs []error) tally {
	var t tally
	var m marks
	failed := map[key]bool{}
	free := map[key]bool{}
	for i, err := range errs {
		r := &taken.rows[i]
		k := key{r.envelope.Route, r.envelope.OrderingKey}
		switch {
		case err == nil:
			m.sent = append(m.sent, r.seq)
			free[k] = true
		case errors.Is(err, errUntried), errors.Is(err, dispatch.ErrClosed):
			t.closed = t.closed || !errors.Is(err, errUntried)
			m.failures = append(m.failures, failure{Seq: r.seq, Attempts: r.attempts, Rejections: r.rejections, Hold: failed[k]})
			delete(free, k)
		default:
			f := b.judge(r, err)
			m.failures = append(m.failures, f)
			failed[k] = k.OrderingKey != ""
			delete(free, k)
			t.note(err, f.Park)
			if f.Park {
				b.log.ErrorContext(ctx, "message parked: it stays in the outbox until it is retried or discarded",
					slog.String("message_id", r.envelope.ID), slog.String("route", r.envelope.Route), slog.Int("attempts", f.Attempts), slog.Any("error", err))
			}
		}
	}
	for k := range free {
		if k.OrderingKey != "" {
			m.free = append(m.free, k)
		}
	}
	t.sent = len(m.sent)
	if t.failed > t.parked {
		b.log.WarnContext(ctx, "messages could not be sent, to be tried again", slog.Int("messages", t.failed-t.parked), slog.Any("first_error", t.first))
	}
	if t.lost = b.mark(ctx, taken.lease, m); t.lost != nil {
		b.log.ErrorContext(ctx, "messages were sent and could not be marked: they will be sent again", slog.Int("messages", t.sent), slog.Any("error", t.lost))
	}
	return t
}

// note counts a failure.
func (t *tally) note(err error, parked bool) {
	t.failed++
	if parked {
		t.parked++
	}
	if t.first == nil {
		t.first = err
	}
}

// judge is what becomes of a row that could not be sent.
func (b *Outbox) judge(r *row, err error) failure {
	text := printable(err.Error())
	f := failure{Seq: r.seq, Attempts: r.attempts + 1, Rejections: r.rejections, Error: &text}
	f.Pause = backoff(b.config.MinBackoff, b.config.MaxBackoff, r.attempts).Milliseconds()
	if isRejection(err) {
		f.Rejections++
		f.Park = f.Rejections >= b.config.MaxAttempts
	}
	return f
}

// isRejection reports whether a message was refused for a reason of its own, which time alone does not mend.
func isRejection(err error) bool {
	for _, ours := range []error{dispatch.ErrNotDeclared, dispatch.ErrEnvelope, dispatch.ErrOption, dispatch.ErrTooLarge} {
		if errors.Is(err, ours) {
			return true
		}
	}
	if errors.Is(err, dispatch.ErrAmbiguous) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	switch status.Code(err) {
	case codes.InvalidArgument, codes.OutOfRange, codes.Unknown: // Unknown is also every error that is not Google's
		return true
	default: // a missing queue or permission included: a deployment mends it for all messages alike
		return false
	}
}

// backoff is the pause after a message's next failure: the least, doubled for each failure before, with a half of it left to chance so that
// messages that failed together do not come back together.
func backoff(least, most time.Duration, failures int) time.Duration {
	d := most
	if failures < 32 && least < most>>failures {
		d = least << failures
	}
	return d/2 + rand.N(d/2+1)
}

const maxErrorText = 1000 // bytes

// printable makes an error's text fit for a column: PostgreSQL takes only UTF-8, and no NUL.
func printable(text string) string {
	if len(text) > maxErrorText {
		text = text[:maxErrorText]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, ""), "\x00", "")
}
