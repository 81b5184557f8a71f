package inbox_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"waybill.dev/dispatch/inbox"
)

func TestOneStatementBeyondTheBareTransaction(t *testing.T) {
	db, recorder := postgres.RecordedDB(t)
	handle := inbox.Once(newInbox(t, db, inbox.Config{Dialect: inbox.PostgreSQL}), effect)
	for _, want := range [][]string{
		{"BEGIN", "INSERT INTO waybill_inbox", "INSERT INTO effects", "COMMIT"},
		{"BEGIN", "INSERT INTO waybill_inbox", "ROLLBACK"}, // a duplicate
	} {
		recorder.Take()
		if err := handle(message(t.Context(), "1"), payment{}); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range recorder.Take() {
			words := strings.Fields(s)
			got = append(got, strings.Join(words[:min(3, len(words))], " "))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
