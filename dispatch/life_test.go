package dispatch_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"waybill.dev/dispatch"
)

func TestReadinessTurnsFalseBeforeAnythingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newContracts()
		w := newCarrier(t, c.app)
		mailer, login := w.open(c.mailer, func(cfg *dispatch.Config) { cfg.DrainDelay, cfg.ShutdownGrace = 5*time.Second, 30*time.Second }), w.open(c.login)
		dispatch.Handle(mailer, c.sendWelcome, func(context.Context, welcome) error { return nil })
		if _, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{}); err != nil {
			t.Fatal(err)
		}
		task := w.task()
		want := func(when string, ready, live, delivery int) {
			t.Helper()
			if got := w.get("https://mailer.test" + dispatch.ReadyPath).Code; got != ready {
				t.Errorf("%s: readiness %d, want %d", when, got, ready)
			}
			if got := w.get("https://mailer.test" + dispatch.LivePath).Code; got != live {
				t.Errorf("%s: liveness %d, want %d", when, got, live)
			}
			if got := w.deliver(task, c.login, 1); got != delivery {
				t.Errorf("%s: a task is answered %d, want %d", when, got, delivery)
			}
		}
		want("before", 200, 200, 204)
		shut := make(chan error, 1)
		go func() { shut <- mailer.Close() }()
		synctest.Wait()
		want("at once", 503, 200, 204)
		time.Sleep(5*time.Second - time.Nanosecond)
		want("during the delay", 503, 200, 204)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		want("after it", 503, 200, 503)
		if err := <-shut; err != nil {
			t.Error(err)
		}
		want("at the end", 503, 200, 503)
	})
}

func TestHealthTellsAnybodyNothingButItsStatus(t *testing.T) {
	c := newContracts()
	w := newCarrier(t, c.app)
	w.open(c.mailer) // without a handler, which is nobody else's business
	for _, path := range []string{dispatch.ReadyPath, dispatch.LivePath} {
		response := w.get("https://mailer.test" + path)
		if response.Code != 200 || response.Body.String() != "ok\n" || response.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %q %v", path, response.Code, response.Body, response.Header())
		}
		if response := w.post("https://mailer.test"+path, http.Header{}, nil, ""); response.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, response.Code)
		}
	}
}

// Handlers first, then background work, which may still send, then sends; only then are the clients flushed and freed.
func TestTheOrderOfShuttingDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newContracts()
		w := newCarrier(t, c.app)
		echo := dispatch.NewTask[welcome](c.mailer, "echo", dispatch.From(c.mailer))
		mailer, login := w.open(c.mailer), w.open(c.login)
		var s steps
		dispatch.Handle(mailer, echo, func(context.Context, welcome) error { return nil })
		dispatch.Handle(mailer, c.sendWelcome, func(context.Context, welcome) error {
			time.Sleep(3 * time.Second)
			s.add("handler ended")
			return nil
		})
		mailer.Background("relay", func(ctx context.Context) error {
			<-ctx.Done()
			s.add("background told")
			time.Sleep(time.Second)
			_, err := dispatch.Send(context.WithoutCancel(ctx), mailer, echo, welcome{})
			s.add("background sent: %v", err)
			return nil
		})
		if _, err := dispatch.Send(t.Context(), login, c.sendWelcome, welcome{}); err != nil {
			t.Fatal(err)
		}
		task := w.task()
		delivered := make(chan int, 1)
		go func() { delivered <- w.deliver(task, c.login, 1) }()
		synctest.Wait()
		began := time.Now()
		if err := mailer.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != 4*time.Second {
			t.Errorf("it took %v, want the handler's 3 s and the relay's 1 s", took)
		}
		s.want(t, "handler ended", "background told", "background sent: <nil>")
		if status := <-delivered; status != 204 {
			t.Errorf("the handler that ran was answered %d", status)
		}
		if _, err := dispatch.Send(t.Context(), mailer, echo, welcome{}); !errors.Is(err, dispatch.ErrClosed) {
			t.Errorf("a send afterwards: %v", err)
		}
		w.task() // the relay's
		w.nothingLeft()
	})
}

// What background work went wrong with is reported, and so is what did not end in time.
func TestBackgroundWorkIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newContracts()
		w := newCarrier(t, c.app)
		d, err := dispatch.Open(t.Context(), c.login, dispatch.Config{Environment: w.env, Transport: way{w, loginAccount}, ShutdownGrace: time.Second, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		d.Background("good", func(ctx context.Context) error { <-ctx.Done(); return nil })
		d.Background("bad", func(context.Context) error { return errors.New("no database") })
		d.Background("worse", func(context.Context) error { panic("boom") })
		d.Background("stubborn", func(context.Context) error { <-release; return nil })
		synctest.Wait()
		err = d.Close()
		for _, text := range []string{"bad: no database", "worse: the handler panicked: boom", "1 background functions still run"} {
			if err == nil || !strings.Contains(err.Error(), text) {
				t.Errorf("the error lacks %q: %v", text, err)
			}
		}
		close(release)
	})
}

func TestAHandlerThatHangsLeavesBackgroundWorkItsTime(t *testing.T) {
	for background, want := range map[bool]time.Duration{false: 8 * time.Second, true: 6 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			c := newContracts()
			w := newCarrier(t, c.app)
			d, err := dispatch.Open(t.Context(), c.mailer, dispatch.Config{Environment: w.env, Transport: way{w, account(c.mailer)}, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			w.at["mailer.test"] = d
			release := make(chan struct{})
			dispatch.Handle(d, c.sendWelcome, func(context.Context, welcome) error { <-release; return nil })
			began := time.Now()
			var told time.Duration
			if background {
				d.Background("relay", func(ctx context.Context) error {
					<-ctx.Done()
					told = time.Since(began)
					return nil
				})
			}
			delivered := make(chan int, 1)
			go func() {
				delivered <- w.post("https://mailer.test/_waybill/tasks/send-welcome", http.Header{}, []byte("{}"), w.issuer.Token(loginAccount, "https://mailer.test")).Code
			}()
			synctest.Wait()
			if err := d.Close(); err == nil || !strings.Contains(err.Error(), "1 handlers still run") {
				t.Errorf("error %v", err)
			}
			if took := time.Since(began); took != want {
				t.Errorf("background work %v: it took %v, want %v", background, took, want)
			}
			if background && told != want {
				t.Errorf("background work was told after %v, want %v", told, want)
			}
			close(release)
			<-delivered
		})
	}
}

func TestTheProcessesConcurrencySpansItsRoutes(t *testing.T) {
	c := newContracts()
	second := dispatch.NewTask[welcome](c.mailer, "second", dispatch.From(c.login))
	w := newCarrier(t, c.app)
	mailer := w.open(c.mailer, func(cfg *dispatch.Config) { cfg.Concurrency = 2 })
	login := w.open(c.login)
	var running atomic.Int32
	full, finish := make(chan bool), make(chan bool)
	run := func(context.Context, welcome) error {
		if running.Add(1) == 2 {
			close(full)
		}
		<-finish
		return nil
	}
	dispatch.Handle(mailer, c.sendWelcome, run)
	dispatch.Handle(mailer, second, run)
	for _, route := range []*dispatch.Task[welcome]{c.sendWelcome, second} {
		if _, err := dispatch.Send(t.Context(), login, route, welcome{}); err != nil {
			t.Fatal(err)
		}
	}
	one, two := w.task(), w.task()
	delivered := make(chan int, 2)
	go func() { delivered <- w.deliver(one, c.login, 1) }()
	go func() { delivered <- w.deliver(two, c.login, 1) }()
	receive(t, full, "the second handler")
	response := w.post("https://mailer.test/_waybill/tasks/second", http.Header{}, []byte("{}"), "")
	if response.Code != http.StatusTooManyRequests || response.Header().Get("Retry-After") != "1" {
		t.Errorf("the third: %d %v", response.Code, response.Header())
	}
	if got := w.get("https://mailer.test" + dispatch.ReadyPath).Code; got != 200 {
		t.Errorf("readiness of a busy process: %d", got)
	}
	close(finish)
	for range 2 {
		if status := receive(t, delivered, "an answer"); status != 204 {
			t.Errorf("status %d", status)
		}
	}
	if status := w.deliver(one, c.login, 1); status != 204 {
		t.Errorf("afterwards: %d", status)
	}
}

func TestConfigReportsEveryProblem(t *testing.T) {
	c := newContracts()
	w := newCarrier(t, c.app)
	_, err := dispatch.Open(t.Context(), c.login, dispatch.Config{
		Environment: w.env, Transport: way{w, loginAccount}, Concurrency: -1, DrainDelay: time.Minute, ShutdownGrace: time.Minute,
	})
	for _, text := range []string{"Config.Concurrency is -1", "Config.DrainDelay is 1m0s and Config.ShutdownGrace 1m0s"} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("the error lacks %q: %v", text, err)
		}
	}
}
