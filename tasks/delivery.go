package tasks

import (
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"waybill.dev/auth"
	"waybill.dev/internal/httpserve"
)

// Delivery is one attempt of Cloud Tasks to deliver a task. What comes from the
// X-CloudTasks-* headers is information, never identity; a header that is
// missing, or not what Cloud Tasks sends, counts as the zero value.
type Delivery struct {
	Queue            string    // the queue's short id
	Task             string    // the task's short id: the key's hash, or Cloud Tasks' own
	Attempt          int       // from 1, the retry count + 1; attempts that no handler saw are counted
	ExecutionCount   int       // how many attempts were answered, leaving out answers of 5xx
	PreviousResponse int       // the HTTP status of the attempt before; 0 at the first
	RetryReason      string    // why the task is repeated, where Cloud Tasks says so
	ETA              time.Time // when the task was due
	ReceivedAt       time.Time // when this attempt arrived, by this machine's clock

	// Header is the request's, without its credentials. It is shared with the request: do not change its values.
	Header http.Header
	// Body is the task's body, the handler's to keep.
	Body []byte
	// Caller is the account whose token the task carries: who sent it.
	Caller auth.Identity
}

// The keys are in the canonical form of net/http, so that they are read without a conversion.
const (
	headerQueue            = "X-Cloudtasks-Queuename"
	headerTask             = "X-Cloudtasks-Taskname"
	headerRetryCount       = "X-Cloudtasks-Taskretrycount"
	headerExecutionCount   = "X-Cloudtasks-Taskexecutioncount"
	headerETA              = "X-Cloudtasks-Tasketa"
	headerPreviousResponse = "X-Cloudtasks-Taskpreviousresponse"
	headerRetryReason      = "X-Cloudtasks-Taskretryreason"
)

func newDelivery(r *http.Request) *Delivery {
	h := r.Header
	d := &Delivery{
		Queue:            h.Get(headerQueue),
		Task:             h.Get(headerTask),
		Attempt:          count(h.Get(headerRetryCount)) + 1,
		ExecutionCount:   count(h.Get(headerExecutionCount)),
		PreviousResponse: count(h.Get(headerPreviousResponse)),
		RetryReason:      h.Get(headerRetryReason),
		ETA:              eta(h.Get(headerETA)),
		ReceivedAt:       time.Now(),
		Header:           httpserve.Header(r),
	}
	d.Caller, _ = auth.IdentityFrom(r.Context())
	return d
}

func count(s string) int {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0
	}
	return int(min(n, math.MaxInt32-1))
}

// eta parses seconds since 1970 with an optional fraction. Parsing as a float
// would lose microseconds.
func eta(s string) time.Time {
	whole, fraction := s, ""
	for i := range len(s) {
		if s[i] == '.' {
			whole, fraction = s[:i], s[i+1:]
			break
		}
	}
	seconds, err := strconv.ParseUint(whole, 10, 40)
	if err != nil {
		return time.Time{}
	}
	var nanos int64
	if fraction != "" {
		digits := (fraction + "000000000")[:9]
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil {
			return time.Time{}
		}
		nanos = int64(n)
	}
	return time.Unix(int64(seconds), nanos).UTC()
}

func logAttrs(d *Delivery) []slog.Attr {
	attrs := append(make([]slog.Attr, 0, 7),
		slog.String("queue", d.Queue), slog.String("task", d.Task), slog.String("caller", d.Caller.Email))
	if id := d.Header.Get("Ce-Id"); id != "" { // a CloudEvent's own id, the same in the sender's log
		attrs = append(attrs, slog.String("message_id", id))
	}
	return attrs
}
