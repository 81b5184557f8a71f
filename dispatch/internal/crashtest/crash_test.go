package crashtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"waybill.dev/dispatch"
	"waybill.dev/internal/testenv"
)

// lives is how often each process is killed.
func lives(full int) int {
	switch {
	case testing.Short():
		return 2
	case testenv.Full():
		return full
	default:
		return 5
	}
}

func TestNothingIsLostNorDoneTwiceByKill9(t *testing.T) {
	w := newWorld(t)
	w.receiver.Database = w.database(true)
	w.sender.Database = w.database(false)
	w.crash(lives(100))
	w.conclude()
}

func TestNothingIsLostNorDoneTwiceBehindBadConnections(t *testing.T) {
	w := newWorld(t)
	w.receiver.Database = w.database(false)
	w.sender.Database = w.database(true)
	proxies := []*proxy{newProxy(t, w.emulator.Listen, w.random(10)), newProxy(t, w.receiver.Listen, w.random(11))}
	toEmulator, toReceiver := proxies[0].addr(), "http://"+proxies[1].addr()
	// Each looks at the others through a proxy. The emulator creates what the contracts need by itself.
	for _, c := range []*config{&w.sender, &w.receiver, &w.emulator} {
		c.Environment.Services[warehouse.Name()] = dispatch.ServiceEnvironment{URL: toReceiver, Listen: w.receiver.Listen}
	}
	w.sender.Environment.Emulator, w.receiver.Environment.Emulator = toEmulator, toEmulator
	w.crash(lives(50))
	for i, p := range proxies {
		t.Logf("proxy to the %s: %v connections were left alone, delayed, reset, truncated, half-closed", []string{"emulator", "receiver"}[i], p.heal())
	}
	w.conclude()
}

// world is three processes.
type world struct {
	*testing.T
	seed                       uint64
	dir                        string
	emulator, sender, receiver config
	handled                    atomic.Int64 // deliveries that the receiver has answered as done
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, dir: t.TempDir(), seed: rand.Uint64()}
	if text := os.Getenv("WAYBILL_SEED"); text != "" {
		var err error
		if w.seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("WAYBILL_SEED: %v", err)
		}
	}
	t.Logf("WAYBILL_SEED=%d", w.seed)
	ports := w.random(0)
	w.emulator = config{Listen: freeAddress(t, ports), Data: filepath.Join(w.dir, "data"), Keys: filepath.Join(w.dir, "keys.pem")}
	w.receiver.Listen = freeAddress(t, ports)
	w.sender.Orders = 5
	for _, c := range []*config{&w.sender, &w.receiver, &w.emulator} {
		c.Environment = &dispatch.Environment{
			Project: "shop", Location: "us-central1", Emulator: w.emulator.Listen,
			Services: map[string]dispatch.ServiceEnvironment{
				warehouse.Name(): {URL: "http://" + w.receiver.Listen},
				counter.Name():   {URL: "http://127.0.0.1:1"}, // receives nothing
			},
		}
	}
	return w
}

// random is one of the run's sources of decisions.
func (w *world) random(stream uint64) *rand.Rand { return rand.New(rand.NewPCG(w.seed, stream)) }

// freeAddress is one that no outgoing connection takes by chance while its owner is dead: below the range that systems take those from.
func freeAddress(t *testing.T, random *rand.Rand) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 15_000+random.IntN(15_000))
		if l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

// database is PostgreSQL where that is wanted and installed.
func (w *world) database(wantPostgreSQL bool) database {
	w.Helper()
	if _, err := exec.LookPath("postgres"); wantPostgreSQL && (err == nil || testenv.Full()) {
		return database{DSN: postgres.DSN(w.T)}
	}
	return database{File: filepath.Join(w.dir, fmt.Sprintf("%v.db", wantPostgreSQL))}
}

// crash kills each process so many times, each at moments of its own.
func (w *world) crash(lives int) {
	w.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(w.Context(), 4*time.Minute)
	defer cancel()
	first := w.start(ctx, "emulator", w.emulator) // what the contracts need is there before anything is sent
	w.ready(ctx, first)
	if err := first.kill(); err != nil {
		w.Fatal(err)
	}
	all, ctx := errgroup.WithContext(ctx)
	for i, role := range []struct {
		name   string
		config config
	}{{"emulator", w.emulator}, {"sender", w.sender}, {"receiver", w.receiver}} {
		random := w.random(uint64(1 + i))
		all.Go(func() error {
			for life := range lives {
				if err := w.live(ctx, role.name, role.config, random); err != nil {
					return fmt.Errorf("life %d: %w", life, err)
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		w.Fatal(err)
	}
	w.Logf("%d lives of each process in %v", lives, time.Since(began).Round(time.Second))
}

// live is one life: the process is killed at a random moment, one time in eight while it starts.
func (w *world) live(ctx context.Context, role string, c config, random *rand.Rand) error {
	early, moment := random.IntN(8) == 0, time.Duration(random.IntN(600))*time.Millisecond
	p, err := start(ctx, role, c, &w.handled)
	if err != nil {
		return err
	}
	if early {
		moment /= 4
	} else {
		select {
		case <-p.ready:
		case <-p.ended:
		}
	}
	time.Sleep(moment)
	if err := p.kill(); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	return nil
}

func (w *world) start(ctx context.Context, role string, c config) *process {
	w.Helper()
	p, err := start(ctx, role, c, &w.handled)
	if err != nil {
		w.Fatal(err)
	}
	return p
}

func (w *world) ready(ctx context.Context, p *process) {
	w.Helper()
	select {
	case <-p.ready:
	case <-p.ended:
		w.Fatalf("the %s did not start: %v", p.role, p.end())
	case <-ctx.Done():
		w.Fatalf("the %s did not start: %v", p.role, ctx.Err())
	}
}

// patience is how long what is left may take. It bounds a failure, not a success.
const patience = 90 * time.Second

// conclude lets everything be delivered, and compares.
func (w *world) conclude() {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	emulator := w.start(ctx, "emulator", w.emulator)
	w.ready(ctx, emulator)
	w.sender.Orders = 0
	sender, receiver := w.start(ctx, "sender", w.sender), w.start(ctx, "receiver", w.receiver)
	w.ready(ctx, sender)
	w.ready(ctx, receiver)

	sent, got := w.open(w.sender.Database), w.open(w.receiver.Database)
	var committed, left, effects int
	for {
		left, committed = w.count(sent, `SELECT count(*) FROM waybill_outbox`), w.count(sent, `SELECT count(*) FROM orders`)
		effects = w.count(got, `SELECT count(*) FROM effects`)
		if left == 0 && effects >= 2*committed || ctx.Err() != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if left > 0 {
		w.Errorf("%d messages are still in the outbox", left)
	}
	if ctx.Err() == nil {
		w.await(ctx) // duplicates may still be under way
	}
	for _, p := range []*process{sender, emulator, receiver} {
		if err := p.end(); err != nil {
			w.Error(err)
		}
	}
	w.compare(sent, got)
	handled := w.handled.Load()
	w.Logf("%d orders were committed, %d effects; %d deliveries were answered as done", committed, effects, handled)
	if lives(100) == 100 && handled <= int64(effects) {
		w.Error("nothing was delivered twice: the crashes have proved nothing")
	}
}

// await returns when the emulator has nothing left to deliver: its clock goes to whatever is due next until nothing is.
func (w *world) await(ctx context.Context) {
	w.Helper()
	for ctx.Err() == nil {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.emulator.Listen+"/_emulator/skip?within=10m", nil)
		if err != nil {
			w.Fatal(err)
		}
		response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
		if err != nil {
			w.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body) // it is for the message alone
		_ = response.Body.Close()
		switch response.StatusCode {
		case http.StatusOK:
		case http.StatusNotFound:
			return
		default:
			w.Fatalf("skip: %d %s", response.StatusCode, text)
		}
	}
}

func (w *world) open(d database) *sql.DB {
	w.Helper()
	db, err := d.open()
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = db.Close() })
	return db
}

func (w *world) count(db *sql.DB, query string) (n int) {
	w.Helper()
	if err := db.QueryRowContext(w.Context(), query).Scan(&n); err != nil {
		w.Fatalf("%s: %v", query, err)
	}
	return n
}

// effect is a row of the receiver's, and what should be one.
type effect struct {
	route string
	order order
}

// compare holds the sender's rows against the receiver's.
func (w *world) compare(sent, got *sql.DB) {
	w.Helper()
	want := map[effect]bool{}
	for _, o := range w.read(sent, `SELECT '', key, n FROM orders`) {
		want[effect{pack.Name(), o.order}] = true
		want[effect{book.Name(), o.order}] = true
	}
	times, last := map[effect]int{}, map[string]int{}
	for _, e := range w.read(got, `SELECT route, key, n FROM effects ORDER BY id`) {
		if times[e]++; !want[e] {
			w.Errorf("%+v has an effect, and was not committed", e)
		}
		if e.route != book.Name() {
			continue
		}
		if e.order.N < last[e.order.Key] {
			w.Errorf("%+v came after order %d of its key", e, last[e.order.Key])
		}
		last[e.order.Key] = max(last[e.order.Key], e.order.N)
	}
	for e := range want {
		if n := times[e]; n != 1 {
			w.Errorf("%+v has %d effects, want 1", e, n)
		}
	}
}

func (w *world) read(db *sql.DB, query string) (list []effect) {
	w.Helper()
	rows, err := db.QueryContext(w.Context(), query)
	if err != nil {
		w.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var e effect
		if err := rows.Scan(&e.route, &e.order.Key, &e.order.N); err != nil {
			w.Fatal(err)
		}
		list = append(list, e)
	}
	if err := rows.Err(); err != nil {
		w.Fatal(err)
	}
	return list
}
