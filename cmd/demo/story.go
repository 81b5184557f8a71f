package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"waybill.dev/auth"
	"waybill.dev/cmd/demo/contracts"
	"waybill.dev/dispatch"
)

// step is one thing that the story shows. run says what happened; an error means that it was not what was expected.
type step struct {
	title    string // a sentence, above what happens
	short    string // for the table
	expected string
	run      func(context.Context) (happened string, err error)
}

// result is a step that was told.
type result struct {
	Title    string `json:"title"`
	Expected string `json:"expected"`
	Happened string `json:"happened"`
	OK       bool   `json:"ok"`
}

// tell tells the story step by step.
func tell(ctx context.Context, stage *stage, shop *shop) []result {
	var results []result
	for i, step := range newStory(stage, shop).steps() {
		stage.out.step(i+1, step.title)
		happened, err := step.run(ctx)
		if err != nil {
			happened = strings.TrimPrefix(happened+"; "+err.Error(), "; ")
		}
		results = append(results, result{Title: step.short, Expected: step.expected, Happened: happened, OK: err == nil})
	}
	return results
}

// story is told from login's side.
type story struct {
	stage *stage
	shop  *shop
	login *dispatch.Dispatcher
}

func newStory(stage *stage, shop *shop) *story {
	return &story{stage: stage, shop: shop, login: shop.services[contracts.Login.Name()]}
}

func (s *story) steps() []step {
	const findUsers = "/_waybill/calls/find-users"
	container := s.shop.behind[contracts.Search.Name()] + findUsers // where the library's own reasons show
	return []step{
		{"login calls user-profiles, as declared", "login calls user-profiles", "answered", s.call},
		{"login calls search, which nobody declared", "login calls search", "refused, not sent", s.undeclaredCall},
		{
			"login forges that call around the library, and has no role at search's gate", "the same, forged", "403 from the gate",
			func(ctx context.Context) (string, error) {
				return s.forge(ctx, http.StatusForbidden, "permission", identity{account("login"), contracts.Search, nil}, s.shop.url(contracts.Search, findUsers))
			},
		},
		{
			"and past the gate, straight to search", "and past the gate", "403 from search",
			func(ctx context.Context) (string, error) {
				return s.forge(ctx, http.StatusForbidden, account("login"), identity{account("login"), contracts.Search, nil}, container)
			},
		},
		{"a task for later", "a task for later", "after 1.5 s", s.delayedTask},
		{"the same task twice, with one key", "a task twice, with one key", "the second is dropped", s.duplicateTask},
		{"a task that fails twice", "a task that fails twice", "done at attempt 3", s.failingTask},
		{"a task that cannot succeed", "a task that cannot succeed", "dead after attempt 1", s.deadTask},
		{"three events of one user, to two subscribers", "three events of one user", "twice, in order", s.orderedEvents},
		{
			"a request without a token", "no token", "401",
			func(ctx context.Context) (string, error) {
				return s.forge(ctx, http.StatusUnauthorized, "token", identity{}, container)
			},
		},
		{
			"a token for another service", "a foreign audience", "401",
			func(ctx context.Context) (string, error) {
				return s.forge(ctx, http.StatusUnauthorized, "audience", identity{account("audit"), contracts.Profiles, nil}, container)
			},
		},
		{
			"a token with a tampered signature", "a tampered signature", "401",
			func(ctx context.Context) (string, error) {
				return s.forge(ctx, http.StatusUnauthorized, "signature", identity{account("audit"), contracts.Search, tamper}, container)
			},
		},
	}
}

func (s *story) call(ctx context.Context) (string, error) {
	s.says("sent", "get-profile of ann, to user-profiles", "")
	p, err := dispatch.Request(ctx, s.login, contracts.GetProfile, contracts.ProfileQuery{UserID: "ann"})
	if err != nil {
		return "", err
	}
	s.says("received", fmt.Sprintf("the answer: %s is %s", p.UserID, p.Name), "")
	return "answered: " + p.Name, expect(p.Name == "Ann Lee", "the answer is %q", p.Name)
}

func (s *story) undeclaredCall(ctx context.Context) (string, error) {
	_, err := dispatch.Request(ctx, s.login, contracts.FindUsers, contracts.SearchQuery{Name: "ann"})
	if !errors.Is(err, dispatch.ErrNotDeclared) {
		return "", fmt.Errorf("the library let it through: %w", err)
	}
	s.says("refused", err.Error(), "")
	return "refused, not sent", nil
}

// identity is the token of a forged request: whose, for which service, and what is done to it. Without an account there is none.
type identity struct {
	account string
	service *dispatch.Service
	spoil   func(token string) string
}

// forge posts to search without the library and expects to be refused with a reason.
func (s *story) forge(ctx context.Context, status int, reason string, who identity, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader([]byte(`{"name":"ann"}`)))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	if who.account != "" {
		token, err := s.token(ctx, who)
		if err != nil {
			return "", err
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	s.says("sent", "POST "+url+", around the library", "")
	response, err := s.shop.outside.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(body))
	err = expect(response.StatusCode == status && strings.Contains(text, reason), "the answer is %d %s", response.StatusCode, text)
	return fmt.Sprintf("%d %s", response.StatusCode, http.StatusText(response.StatusCode)), err
}

func (s *story) token(ctx context.Context, who identity) (string, error) {
	key, err := s.shop.emulator.KeyFile(who.account)
	if err != nil {
		return "", err
	}
	minter, err := auth.NewMinter(auth.MinterConfig{CredentialsJSON: key})
	if err != nil {
		return "", err
	}
	defer minter.Close()
	token, err := minter.Token(ctx, s.shop.env.Services[who.service.Name()].URL)
	if err == nil && who.spoil != nil {
		token = who.spoil(token)
	}
	return token, err
}

// tamper changes one character in the middle of a token's signature.
func tamper(token string) string {
	i := strings.LastIndexByte(token, '.') + 20
	c := byte('A')
	if token[i] == c {
		c = 'B'
	}
	return token[:i] + string(c) + token[i+1:]
}

func (s *story) delayedTask(ctx context.Context) (string, error) {
	const delay = 1500 * time.Millisecond
	sent := time.Now()
	receipt, err := s.welcome(ctx, annAddress, dispatch.After(delay))
	if err != nil {
		return "", err
	}
	if _, err := s.arrival(ctx, receipt.ID, "the task's time"); err != nil {
		return "", err
	}
	waited := time.Since(sent)
	return fmt.Sprintf("after %.1f s", waited.Seconds()), expect(waited >= delay, "it came %v after sending", waited)
}

func (s *story) duplicateTask(ctx context.Context) (string, error) {
	key := dispatch.Key("welcome:ann")
	first, err := s.welcome(ctx, annAddress, key)
	if err != nil {
		return "", err
	}
	second, err := s.welcome(ctx, annAddress, key)
	if err != nil {
		return "", err
	}
	if err := expect(!first.Duplicate && second.Duplicate && first.ID == second.ID, "the receipts are %+v and %+v", first, second); err != nil {
		return "", err
	}
	n, err := s.arrival(ctx, first.ID, "the first one")
	if err != nil {
		return "", err
	}
	return "the second is dropped", expect(n == 1, "it was delivered %d times", n)
}

func (s *story) failingTask(ctx context.Context) (string, error) {
	receipt, err := s.welcome(ctx, busyAddress)
	if err != nil {
		return "", err
	}
	if _, err := s.arrival(ctx, receipt.ID, "two retries"); err != nil {
		return "", err
	}
	s.stage.mu.Lock()
	defer s.stage.mu.Unlock()
	failures := of(s.stage.events, "mailer", "failed", receipt.ID)
	arrived := of(s.stage.events, "mailer", "received", receipt.ID)
	return fmt.Sprintf("done at attempt %d", arrived[0].Attempt),
		expect(len(failures) == 2 && arrived[0].Attempt == 3, "that is not what the mailer does")
}

func (s *story) deadTask(ctx context.Context) (string, error) {
	receipt, err := s.welcome(ctx, nobodyAddress)
	if err != nil {
		return "", err
	}
	s.stage.out.waiting("the dead letter")
	dead, err := s.shop.deadLetter(ctx)
	s.stage.out.waiting("")
	if err != nil {
		return "", err
	}
	cause, attempts := dead.Attributes["waybill-dead-cause"], dead.Attributes["waybill-dead-attempts"]
	s.stage.happened(event{Service: "mailer", What: "dead", Detail: fmt.Sprintf("dead letter: %s, after attempt %s: %s", dead.Data, attempts, cause), ID: dead.Attributes["ce-id"]})
	return "dead after attempt " + attempts,
		expect(dead.Attributes["ce-id"] == receipt.ID && attempts == "1", "the dead letter is %s", dead.Attributes["ce-id"])
}

func (s *story) orderedEvents(ctx context.Context) (string, error) {
	user := "ann"
	var ids []string
	for _, step := range []string{"asked", "confirmed", "signed in"} {
		s.says("sent", fmt.Sprintf("%s %s: an event, by %s", user, step, dispatch.ViaPubSub), "")
		receipt, err := dispatch.Send(ctx, s.login, contracts.SignedUp, contracts.UserSignedUp{UserID: user, Step: step})
		if err != nil {
			return "", err
		}
		ids = append(ids, receipt.ID)
	}
	subscribers := []string{contracts.Search.Name(), contracts.Audit.Name()}
	order := map[string][]string{}
	err := s.stage.await(ctx, "both subscribers", func(events []event) bool {
		clear(order)
		for _, e := range events {
			for _, id := range ids {
				if e.What == "received" && e.ID == id {
					order[e.Service] = append(order[e.Service], id)
				}
			}
		}
		return len(order[subscribers[0]]) >= len(ids) && len(order[subscribers[1]]) >= len(ids)
	})
	if err != nil {
		return "", err
	}
	for _, subscriber := range subscribers {
		if err := expect(fmt.Sprint(order[subscriber]) == fmt.Sprint(ids), "%s got another order", subscriber); err != nil {
			return "", err
		}
	}
	return "twice, in order", nil
}

// welcome reports and sends a SendWelcome task.
func (s *story) welcome(ctx context.Context, to string, options ...dispatch.SendOption) (dispatch.Receipt, error) {
	s.says("sent", fmt.Sprintf("welcome %s: a task, by %s", to, dispatch.ViaCloudTasks), "")
	receipt, err := dispatch.Send(ctx, s.login, contracts.SendWelcome, contracts.Welcome{To: to}, options...)
	if err != nil {
		return receipt, err
	}
	if receipt.Duplicate {
		s.says("dropped", "a task with this key is there already", receipt.ID)
	}
	return receipt, nil
}

// arrival waits until the mailer has got a message, and says how often.
func (s *story) arrival(ctx context.Context, id, what string) (int, error) {
	n := 0
	err := s.stage.await(ctx, what, func(events []event) bool {
		n = len(of(events, contracts.Mailer.Name(), "received", id))
		return n > 0
	})
	return n, err
}

func (s *story) says(what, detail, id string) {
	s.stage.happened(event{Service: contracts.Login.Name(), What: what, Detail: detail, ID: id})
}

// expect returns an error with the text unless ok.
func expect(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}
