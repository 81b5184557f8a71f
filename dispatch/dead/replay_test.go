package dead_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	cloudtasks "cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"

	"waybill.dev/dispatch"
	"waybill.dev/dispatch/dead"
	"waybill.dev/tasks"
)

// A task dies, is replayed, dies again, is replayed again, and is done: one ID, new names, attempts anew.
func TestATaskIsReplayedTwice(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	mailer, login, letters := w.open(s.mailer), w.open(s.login), w.letters(s.app)
	var runs atomic.Int32
	got := make(chan dispatch.Message, 10)
	dispatch.Handle(mailer, s.sendWelcome, func(ctx context.Context, m welcome) error {
		got <- dispatch.MessageFrom(ctx)
		if runs.Add(1) <= 2 || m.To != "ann" {
			return errBroken
		}
		return nil
	})
	w.serve(s.mailer, mailer)
	receipt := send(t, login, s.sendWelcome, welcome{"ann"})
	names := map[string]bool{receipt.Name: true}
	receive(t, got, "the first run")
	for number := 1; number <= 2; number++ {
		if l := w.buried(letters, 1)[0]; l.ID != receipt.ID || l.Replays != number-1 {
			t.Fatalf("death %d: %+v", number, l)
		}
		results := replay(t, letters, dead.Query{})
		if len(results) != 1 || results[0].Number != number || results[0].Duplicate || names[results[0].Name] {
			t.Fatalf("replay %d: %+v; the names until now: %v", number, results, names)
		}
		names[results[0].Name] = true
		m := receive(t, got, "the replayed task")
		if m.ID != receipt.ID || m.Attempt != 1 || m.Caller.Email != "login@waybill-local.iam.gserviceaccount.com" || m.Source != "/shop/login" {
			t.Errorf("replay %d arrived as %+v", number, m)
		}
	}
	w.none(letters)
}

// An event that one of two subscriptions could not handle reaches that one only, under its ordering key.
func TestAReplayedEventReachesOnlyTheSubscriptionThatFailed(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	// An outsider sees all that is published.
	if _, err := w.google.SubscriptionAdminClient.CreateSubscription(t.Context(), &pubsubpb.Subscription{
		Name: w.subscription("outsider"), Topic: w.topic("user-signed-up"), EnableMessageOrdering: true, Filter: "attributes:waybill-replay-to",
	}); err != nil {
		t.Fatal(err)
	}
	search, audit, login, letters := w.open(s.search), w.open(s.audit), w.open(s.login), w.letters(s.app)
	mend, indexed := breakable(search, s.indexUser, errBroken)
	recorded := make(chan dispatch.Message, 10)
	dispatch.Handle(audit, s.recordSignUp, func(ctx context.Context, _ signedUp) error {
		recorded <- dispatch.MessageFrom(ctx)
		return nil
	})
	w.serve(s.search, search)
	w.serve(s.audit, audit)
	receipt := send(t, login, s.signedUp, signedUp{"ann"})
	receive(t, recorded, "the audit's copy")
	receive(t, w.endpoints["audit"].answered, "the audit's answer")
	l := w.buried(letters, 1)[0]
	if l.ID != receipt.ID || l.Route != "index-user" || l.OrderingKey != "ann" {
		t.Fatalf("the letter: %+v", l)
	}
	mend()
	results := replay(t, letters, dead.Query{Route: "index-user"})
	if len(results) != 1 || results[0].To != w.topic("user-signed-up") {
		t.Fatalf("results: %+v", results)
	}
	if m := receive(t, indexed, "the replayed event"); m.ID != receipt.ID || m.Attempt != 1 {
		t.Errorf("it arrived as %+v", m)
	}
	if status := receive(t, w.endpoints["audit"].answered, "the audit's answer to the replay"); status != http.StatusNoContent {
		t.Errorf("the audit answered %d", status)
	}
	if len(recorded) > 0 {
		t.Error("the audit's handler ran for another subscription's replay")
	}
	m := w.peek("outsider")
	if m.OrderingKey != "ann" || m.Attributes["waybill-replay"] != "1" || m.Attributes["waybill-replay-to"] != "index-user" || m.Attributes["ce-id"] != receipt.ID {
		t.Errorf("it was published as %v with key %q", m.Attributes, m.OrderingKey)
	}
	for name := range m.Attributes {
		if strings.HasPrefix(name, "waybill-dead-") {
			t.Errorf("the replay carries %s", name)
		}
	}
	w.none(letters)
}

// What an ID names is replayed, and a second death of an event is replayed as well.
func TestAnEventIsReplayedTwiceByItsID(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	search, login, letters := w.open(s.search), w.open(s.login), w.letters(s.app)
	mend, indexed := breakable(search, s.indexUser, dispatch.Permanent(errBroken))
	w.serve(s.search, search)
	first, second := send(t, login, s.signedUp, signedUp{"ann"}), send(t, login, s.signedUp, signedUp{"ben"})
	w.buried(letters, 2)
	if results := replay(t, letters, dead.Query{ID: first.ID}); len(results) != 1 || results[0].Letter.ID != first.ID || results[0].Number != 1 {
		t.Fatalf("the first replay: %+v", results)
	}
	if both := w.buried(letters, 2); both[0].ID != second.ID || both[1].ID != first.ID || both[1].Replays != 1 {
		t.Fatalf("it died again: %+v", both)
	}
	mend()
	if results := replay(t, letters, dead.Query{ID: first.ID}); len(results) != 1 || results[0].Number != 2 {
		t.Fatalf("the second replay: %+v", results)
	}
	if m := receive(t, indexed, "the event"); m.ID != first.ID {
		t.Errorf("arrived: %+v", m)
	}
	if left := w.buried(letters, 1); left[0].ID != second.ID {
		t.Errorf("left: %+v", left)
	}
}

// A failure in the middle: what was accepted by then is gone from the dead letters, all else is still there.
func TestAReplayThatFailsInTheMiddleLosesNothing(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	mailer, login, letters := w.open(s.mailer), w.open(s.login), w.letters(s.app)
	mend, got := breakable(mailer, s.sendWelcome, errBroken)
	w.serve(s.mailer, mailer)
	for range 4 {
		send(t, login, s.sendWelcome, welcome{"ann"})
	}
	before := w.buried(letters, 4)
	mend()
	queues, err := cloudtasks.NewClient(t.Context(), tasks.EmulatorOptions(w.emulator.Addr())...)
	if err != nil {
		t.Fatal(err)
	}
	defer queues.Close()
	queue := "projects/waybill-local/locations/us-central1/queues/shop--send-welcome"
	looked := 0
	results, err := letters.Replay(t.Context(), dead.Query{Match: func(l dead.Letter) bool {
		if looked++; looked == 3 {
			receive(t, got, "the first replayed task") // before its queue is gone
			receive(t, got, "the second replayed task")
			if err := queues.DeleteQueue(t.Context(), &cloudtaskspb.DeleteQueueRequest{Name: queue}); err != nil {
				t.Error(err)
			}
		}
		return true
	}})
	if err == nil || !strings.Contains(err.Error(), before[2].ID) {
		t.Errorf("the error: %v", err)
	}
	if len(results) != 2 || results[0].Letter.ID != before[0].ID || results[1].Letter.ID != before[1].ID {
		t.Errorf("the results: %+v", results)
	}
	if left := w.buried(letters, 2); left[0].ID != before[2].ID || left[1].ID != before[3].ID {
		t.Errorf("left: %+v", left)
	}
}

// The acknowledgement of a replayed letter was lost. The next replay of it sends nothing twice.
func TestALetterThatWasReplayedAlreadyIsADuplicate(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	mailer, login, letters := w.open(s.mailer), w.open(s.login), w.letters(s.app)
	var runs atomic.Int32
	dispatch.Handle(mailer, s.sendWelcome, func(context.Context, welcome) error {
		if runs.Add(1) == 1 {
			return errBroken
		}
		return nil
	})
	w.serve(s.mailer, mailer)
	send(t, login, s.sendWelcome, welcome{"ann"})
	w.buried(letters, 1)
	still := w.peek("send-welcome--dead")
	first := replay(t, letters, dead.Query{})
	w.publish("send-welcome--dead", &pubsubpb.PubsubMessage{Data: still.Data, Attributes: still.Attributes})
	w.buried(letters, 1)
	second := replay(t, letters, dead.Query{})
	if len(second) != 1 || !second[0].Duplicate || second[0].Name != first[0].Name {
		t.Errorf("the second replay: %+v, after %+v", second, first)
	}
	w.none(letters)
	receive(t, w.endpoints["mailer"].answered, "the death")
	receive(t, w.endpoints["mailer"].answered, "the replay")
	if n := runs.Load(); n != 2 {
		t.Errorf("the handler ran %d times", n)
	}
}

// A letter that cannot be sent as it is, stays; the others go.
func TestALetterOfASenderThatIsNotDeclaredStays(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	mailer, login, letters := w.open(s.mailer), w.open(s.login), w.letters(s.app)
	mend, got := breakable(mailer, s.sendWelcome, errBroken)
	w.serve(s.mailer, mailer)
	w.publish("send-welcome--dead", &pubsubpb.PubsubMessage{Data: []byte("{}"), Attributes: map[string]string{
		"ce-id": "forged", "ce-source": "/shop/login", "waybill-dead-route": "send-welcome", "waybill-dead-caller": "billing@waybill-local.iam.gserviceaccount.com",
		"waybill-dead-url": "http://127.0.0.1:1/steal",
	}})
	receipt := send(t, login, s.sendWelcome, welcome{"ann"})
	w.buried(letters, 2)
	mend()
	results, err := letters.Replay(t.Context(), dead.Query{})
	if !errors.Is(err, dead.ErrRefused) || !strings.Contains(err.Error(), "letter forged of send-welcome stays") {
		t.Errorf("the error: %v", err)
	}
	for _, r := range results {
		if (r.Letter.ID == receipt.ID) != (r.Err == nil) {
			t.Errorf("%s: %v", r.Letter.ID, r.Err)
		}
	}
	if m := receive(t, got, "the task"); m.ID != receipt.ID || len(results) != 2 {
		t.Errorf("%s arrived; results %+v", m.ID, results)
	}
	if left := w.buried(letters, 1); left[0].ID != "forged" {
		t.Errorf("left: %+v", left)
	}
}

// Nobody would get it: the event stays.
func TestAnEventStaysWhileItsSubscriptionIsGone(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	letters := w.letters(s.app)
	w.publish("index-user--dead", &pubsubpb.PubsubMessage{Data: []byte("{}"), Attributes: map[string]string{"ce-id": "1", "waybill-dead-route": "index-user"}})
	if err := w.google.SubscriptionAdminClient.DeleteSubscription(t.Context(), &pubsubpb.DeleteSubscriptionRequest{Subscription: w.subscription("index-user")}); err != nil {
		t.Fatal(err)
	}
	if _, err := letters.Replay(t.Context(), dead.Query{}); !errors.Is(err, dead.ErrRefused) || !strings.Contains(err.Error(), "nobody would get it") {
		t.Errorf("the error: %v", err)
	}
	w.buried(letters, 1)
}

// A preview says what would happen, and nothing happens.
func TestAPreviewSendsNothing(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	letters := w.letters(s.app)
	w.publish("send-welcome--dead", &pubsubpb.PubsubMessage{Data: []byte("{}"), Attributes: map[string]string{"ce-id": "1", "ce-source": "/shop/login", "waybill-dead-route": "send-welcome"}})
	results, err := letters.Preview(t.Context(), dead.Query{})
	if err != nil || len(results) != 1 || results[0].Name != "" || results[0].As != "login@waybill-local.iam.gserviceaccount.com" ||
		results[0].To != "projects/waybill-local/locations/us-central1/queues/shop--send-welcome" {
		t.Errorf("the preview: %+v, %v", results, err)
	}
	w.buried(letters, 1)
}

// More letters than are read at a time: all of them go, each once, though they die again meanwhile.
func TestAReplayOfAllGoesThroughAllOnce(t *testing.T) {
	t.Parallel()
	s := newShop()
	w := newWorld(t, s.app)
	mailer, login, letters := w.open(s.mailer), w.open(s.login), w.letters(s.app)
	dispatch.Handle(mailer, s.sendWelcome, func(context.Context, welcome) error { return errBroken })
	w.serve(s.mailer, mailer)
	const n = 7
	for range n {
		send(t, login, s.sendWelcome, welcome{"ann"})
	}
	w.buried(letters, n)
	results := replay(t, letters, dead.Query{Limit: 2})
	seen := map[string]bool{}
	for _, r := range results {
		if seen[r.Letter.ID] || r.Number != 1 {
			t.Errorf("%s was replayed again, as number %d", r.Letter.ID, r.Number)
		}
		seen[r.Letter.ID] = true
	}
	if len(seen) != n {
		t.Errorf("%d of %d were replayed", len(seen), n)
	}
	for _, l := range w.buried(letters, n) {
		if l.Replays != 1 {
			t.Errorf("%s has %d replays", l.ID, l.Replays)
		}
	}
}
