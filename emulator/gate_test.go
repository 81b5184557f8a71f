package emulator_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"google.golang.org/api/idtoken"
	"google.golang.org/api/option"

	"waybill.dev/emulator"
)

const (
	invoker   = "serviceAccount:" + account
	stranger  = "stranger@shop.iam.gserviceaccount.com"
	authorize = "Authorization"
	alternate = "X-Serverless-Authorization"
)

// tokenOf mints by Google's client and a key file.
func tokenOf(t *testing.T, e *emulator.Emulator, account, audience string) string {
	t.Helper()
	file, err := e.KeyFile(account)
	if err != nil {
		t.Fatal(err)
	}
	source, err := idtoken.NewTokenSource(t.Context(), audience, option.WithAuthCredentialsJSON(option.ServiceAccount, file))
	if err != nil {
		t.Fatal(err)
	}
	token, err := source.Token()
	if err != nil {
		t.Fatal(err)
	}
	return token.AccessToken
}

func openGate(t *testing.T, e *emulator.Emulator, config emulator.GateConfig) *emulator.Gate {
	t.Helper()
	g, err := e.Gate(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// call sends a request with these tokens in the header of each name.
func call(t *testing.T, url string, tokens map[string]string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/profile", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range tokens {
		request.Header.Set(name, "Bearer "+token)
	}
	return do(t, request)
}

func unsigned(token string) string {
	return token[:strings.LastIndexByte(token, '.')] + ".SIGNATURE_REMOVED_BY_GOOGLE"
}

func TestGate(t *testing.T) {
	e := start(t, emulator.Config{})
	container, arrivals := receiver(t)
	g := openGate(t, e, emulator.GateConfig{
		Service: "user-profiles", Target: container, Invokers: []string{invoker}, Audiences: []string{"https://profiles.example.com"},
	})
	good := tokenOf(t, e, account, g.URL())
	custom := tokenOf(t, e, account, "https://profiles.example.com")
	foreign := tokenOf(t, start(t, emulator.Config{}), account, g.URL())

	for name, c := range map[string]struct {
		tokens, want map[string]string // by header; want: as the container sees them
		status       int
	}{
		"invoker":               {map[string]string{authorize: good}, map[string]string{authorize: unsigned(good)}, 204},
		"serverless":            {map[string]string{alternate: good}, map[string]string{alternate: unsigned(good)}, 204},
		"both":                  {map[string]string{authorize: good, alternate: good}, map[string]string{authorize: good, alternate: unsigned(good)}, 204},
		"serverless counts":     {map[string]string{authorize: "x", alternate: good}, map[string]string{authorize: "x", alternate: unsigned(good)}, 204},
		"serverless counts, so": {map[string]string{authorize: good, alternate: foreign}, nil, 401},
		"custom audience":       {map[string]string{authorize: custom}, map[string]string{authorize: unsigned(custom)}, 204},
		"no token":              {nil, nil, 403},
		"another's token":       {map[string]string{authorize: tokenOf(t, e, stranger, g.URL())}, nil, 403},
		"another's audience":    {map[string]string{authorize: tokenOf(t, e, account, "https://search.example.com")}, nil, 401},
		"of another issuer":     {map[string]string{authorize: foreign}, nil, 401},
		"without a signature":   {map[string]string{authorize: unsigned(good)}, nil, 401},
		"access token":          {map[string]string{authorize: "ya29.c.AAAA"}, nil, 401},
	} {
		response := call(t, g.URL(), c.tokens)
		if response.StatusCode != c.status {
			t.Errorf("%s: %d, want %d", name, response.StatusCode, c.status)
		}
		if (response.Header.Get("WWW-Authenticate") != "") != (response.StatusCode == http.StatusUnauthorized) {
			t.Errorf("%s: %d with WWW-Authenticate %q", name, response.StatusCode, response.Header.Get("WWW-Authenticate"))
		}
		if response.StatusCode != http.StatusNoContent {
			continue
		}
		got := <-arrivals
		for _, header := range []string{authorize, alternate} {
			if token := strings.TrimPrefix(got.header.Get(header), "Bearer "); token != c.want[header] {
				t.Errorf("%s: the container sees in %s %q, want %q", name, header, token, c.want[header])
			}
		}
	}
	if len(arrivals) != 0 {
		t.Errorf("%d refused requests reached the container", len(arrivals))
	}
}

func TestSignaturesAtAGate(t *testing.T) {
	e := start(t, emulator.Config{})
	container, arrivals := receiver(t)
	for signature, want := range map[emulator.Signature][2]bool{ // kept in Authorization, in X-Serverless-Authorization
		emulator.SignatureRemoved:               {false, false},
		emulator.SignatureRemovedFromServerless: {true, false},
		emulator.SignatureKept:                  {true, true},
	} {
		g := openGate(t, e, emulator.GateConfig{Service: "search", Target: container, Invokers: []string{invoker}, Signature: signature})
		token := tokenOf(t, e, account, g.URL())
		for i, header := range []string{authorize, alternate} {
			expected := unsigned(token)
			if want[i] {
				expected = token
			}
			if response := call(t, g.URL(), map[string]string{header: token}); response.StatusCode != http.StatusNoContent {
				t.Fatalf("%v: %d", signature, response.StatusCode)
			}
			if got := <-arrivals; got.header.Get(header) != "Bearer "+expected {
				t.Errorf("%v: the container sees %q in %s", signature, got.header.Get(header), header)
			}
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestEachServiceHasInvokersOfItsOwn(t *testing.T) {
	e := start(t, emulator.Config{})
	container, arrivals := receiver(t)
	profiles := openGate(t, e, emulator.GateConfig{Service: "user-profiles", Target: container, Invokers: []string{invoker}})
	search := openGate(t, e, emulator.GateConfig{Service: "search", Target: container})
	status := func(g *emulator.Gate) int {
		return call(t, g.URL(), map[string]string{authorize: tokenOf(t, e, account, g.URL())}).StatusCode
	}
	if got := status(profiles); got != http.StatusNoContent {
		t.Errorf("login at user-profiles: %d", got)
	}
	<-arrivals
	if got := status(search); got != http.StatusForbidden {
		t.Errorf("login at search: %d", got)
	}
	if err := search.SetInvokers("serviceAccount:"+stranger, invoker); err != nil {
		t.Fatal(err)
	}
	if got := status(search); got != http.StatusNoContent {
		t.Errorf("login at search, with the role: %d", got)
	}
	<-arrivals
	if err := search.SetInvokers("allUsers"); err != nil {
		t.Fatal(err)
	}
	if got := call(t, search.URL(), nil).StatusCode; got != http.StatusNoContent {
		t.Errorf("anybody at a public service: %d", got)
	}
	<-arrivals
	if err := search.SetInvokers("login@shop.test"); err == nil || !strings.HasPrefix(err.Error(), "emulator: ") {
		t.Errorf("an invoker that is not in IAM's form: %v", err)
	}
	if err := search.SetInvokers(); err != nil {
		t.Fatal(err)
	}
	if got := status(search); got != http.StatusForbidden {
		t.Errorf("login at search, without the role: %d", got)
	}
}

func TestTasksPassAGate(t *testing.T) {
	e := start(t, emulator.Config{})
	client := tasksClient(t, e)
	createQueue(t, client)
	container, arrivals := receiver(t)
	g := openGate(t, e, emulator.GateConfig{Service: "mailer", Target: container, Invokers: []string{invoker}})
	if _, err := client.CreateTask(t.Context(), &cloudtaskspb.CreateTaskRequest{Parent: queue, Task: httpTask(g.URL()+"/send", g.URL())}); err != nil {
		t.Fatal(err)
	}
	got := <-arrivals
	if got.body != `{"to":"ada"}` || got.header.Get("X-CloudTasks-QueueName") != "mails" || !strings.HasSuffix(got.header.Get(authorize), ".SIGNATURE_REMOVED_BY_GOOGLE") {
		t.Errorf("arrived: %q, %v", got.body, got.header)
	}
}

func TestAWithdrawnKeyIsRefusedByAGate(t *testing.T) {
	e := start(t, emulator.Config{})
	container, _ := receiver(t)
	g := openGate(t, e, emulator.GateConfig{Service: "search", Target: container, Invokers: []string{invoker}})
	old := tokenOf(t, e, account, g.URL())
	status := func() int { return call(t, g.URL(), map[string]string{authorize: old}).StatusCode }
	if err := e.RotateKeys(emulator.KeepOldKey); err != nil {
		t.Fatal(err)
	}
	if got := status(); got != http.StatusNoContent {
		t.Errorf("by a key that is still published: %d", got)
	}
	if err := e.RotateKeys(emulator.WithdrawOldKey); err != nil {
		t.Fatal(err)
	}
	if got := status(); got != http.StatusUnauthorized {
		t.Errorf("by a withdrawn key: %d", got)
	}
}

func TestRefusalsAtAGateAreLoggedOnce(t *testing.T) {
	var log safeBuffer
	e := start(t, emulator.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	container, _ := receiver(t)
	g := openGate(t, e, emulator.GateConfig{Service: "search", Target: container})
	token := tokenOf(t, e, account, g.URL())
	for range 5 {
		call(t, g.URL(), map[string]string{authorize: token})
		call(t, g.URL(), nil)
	}
	if got := strings.Count(log.String(), "gate refused a request"); got != 2 || !strings.Contains(log.String(), "caller="+account) {
		t.Errorf("logged %d times:\n%s", got, log.String())
	}
	if strings.Contains(log.String(), token) {
		t.Error("the log has a token")
	}
}

func TestShutdownWaitsForARequestAtAGateAndCloseDoesNot(t *testing.T) {
	for _, patient := range []bool{true, false} {
		arrived, release := make(chan struct{}), make(chan struct{})
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // only then does net/http see the client go
			close(arrived)
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}))
		e := start(t, emulator.Config{})
		g := openGate(t, e, emulator.GateConfig{Service: "search", Target: server.URL, Invokers: []string{"allUsers"}})
		answered, ended := make(chan int, 1), make(chan error, 1)
		go func() {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL(), strings.NewReader("{}"))
			if err != nil {
				t.Error(err)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				answered <- 0
				return
			}
			_ = response.Body.Close()
			answered <- response.StatusCode
		}()
		<-arrived
		go func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
			defer cancel()
			if patient {
				ended <- e.Shutdown(ctx)
			} else {
				ended <- e.Close()
			}
		}()
		if patient {
			for !refused(t, g.URL()) { // until the gate has stopped listening
			}
			select {
			case err := <-ended:
				t.Errorf("Shutdown did not wait: %v", err)
			default:
			}
			close(release)
		}
		if err := <-ended; err != nil {
			t.Errorf("patient %v: %v", patient, err)
		}
		if got := <-answered; patient != (got == http.StatusOK) {
			t.Errorf("patient %v: the caller got %d", patient, got)
		}
		if _, err := e.Gate(t.Context(), emulator.GateConfig{Service: "search", Target: server.URL}); err == nil {
			t.Error("a gate after the end")
		}
		if err := g.Close(); err != nil {
			t.Errorf("closing a gate after the end: %v", err)
		}
		server.Close()
	}
}

func refused(t *testing.T, url string) bool {
	t.Helper()
	c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	if err == nil {
		_ = c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

func TestGateReportsEveryProblem(t *testing.T) {
	e := start(t, emulator.Config{})
	_, err := e.Gate(t.Context(), emulator.GateConfig{
		Service: "User_Profiles", Project: "a b", Location: "/", Target: "http://a/b", Listen: "0.0.0.0:0",
		Audiences: []string{""}, Signature: 9, Timeout: 2 * time.Hour,
	})
	if err == nil {
		t.Fatal("opened")
	}
	for _, field := range []string{"Service", "Project", "Location", "Target", "Listen", "Audiences", "Signature", "Timeout"} {
		if !strings.Contains(err.Error(), "emulator: GateConfig."+field) {
			t.Errorf("nothing about %s in: %v", field, err)
		}
	}
	for _, target := range []string{"", "127.0.0.1:80", "ftp://a", "http://", "http://u:secret@a", "http://a?b", "http://a\n"} {
		_, err := e.Gate(t.Context(), emulator.GateConfig{Service: "search", Target: target})
		if err == nil || !strings.Contains(err.Error(), "GateConfig.Target") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", target, err)
		}
	}
	if _, err := e.Gate(t.Context(), emulator.GateConfig{Service: "search", Target: "http://a", Invokers: []string{"me"}}); err == nil {
		t.Error("opened for a member that is not in IAM's form")
	}
}

func TestGateOverHTTP(t *testing.T) {
	e := start(t, emulator.Config{})
	container, arrivals := receiver(t)
	open := func(form url.Values) (status int, line string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL()+"/_emulator/gates?"+form.Encode(), nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, strings.TrimSpace(string(body))
	}
	status, gateURL := open(url.Values{
		"service": {"search"}, "target": {container}, "invoker": {"serviceAccount:" + stranger, invoker},
		"audience": {"https://a.test", "https://b.test"}, "signature": {"kept"},
	})
	if status != http.StatusOK {
		t.Fatalf("%d %s", status, gateURL)
	}
	token := tokenOf(t, e, account, "https://b.test")
	if response := call(t, gateURL, map[string]string{authorize: token}); response.StatusCode != http.StatusNoContent {
		t.Errorf("status %d", response.StatusCode)
	}
	if got := <-arrivals; got.header.Get(authorize) != "Bearer "+token {
		t.Errorf("the container sees %q", got.header.Get(authorize))
	}
	for _, form := range []url.Values{
		{}, {"service": {"search"}, "target": {container}}, {"service": {"audit"}, "target": {container}, "signature": {"some"}},
	} {
		if status, line := open(form); status != http.StatusBadRequest {
			t.Errorf("%v: %d %s", form, status, line)
		}
	}
}
