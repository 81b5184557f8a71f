package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"

	"waybill.dev/auth"
	"waybill.dev/internal/authtest"
	"waybill.dev/tasks"
)

func ExampleClient_Enqueue() {
	cloudTasks, stop := startFake() // on Google Cloud: tasks.ClientOptions() below
	defer stop()

	ctx := context.Background()
	client, err := tasks.NewClient(ctx, tasks.Config{ServiceAccount: "login@shop.iam.gserviceaccount.com"}, tasks.EmulatorOptions(cloudTasks.addr)...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	receipt, err := client.Enqueue(ctx, tasks.Task{
		Queue:    "projects/shop/locations/europe-west1/queues/welcome",
		URL:      "https://mailer.example.com/welcome",
		Audience: "https://mailer.example.com",
		Body:     []byte(`{"to":"ada@example.com"}`),
	})
	fmt.Println(receipt.Name, receipt.Duplicate, err)
	// Output: projects/shop/locations/europe-west1/queues/welcome/tasks/1234 false <nil>
}

func ExampleClient_Enqueue_tooLarge() {
	client, err := tasks.NewClient(context.Background(), tasks.Config{ServiceAccount: "login@shop.iam.gserviceaccount.com"}, tasks.EmulatorOptions("127.0.0.1:8085")...)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	_, err = client.Enqueue(context.Background(), tasks.Task{
		Queue:    "projects/shop/locations/europe-west1/queues/welcome",
		URL:      "https://mailer.example.com/welcome",
		Audience: "https://mailer.example.com",
		Body:     make([]byte, 2_000_000),
	})
	fmt.Println(errors.Is(err, tasks.ErrTooLarge))
	// Output: true
}

func ExampleNewHandler() {
	issuer := authtest.Start() // stands for Google, whose keys a verifier has by default
	defer issuer.Close()
	keys, err := auth.NewKeySet(auth.KeySetConfig{URL: issuer.KeysURL()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer keys.Close()
	verifier, err := auth.NewVerifier(auth.VerifierConfig{
		Audiences: []string{"https://mailer.example.com"},
		Callers:   []string{"login@shop.iam.gserviceaccount.com"},
		Keys:      keys,
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	handler, err := tasks.NewHandler(tasks.HandlerConfig{
		Verifier:    verifier,
		MaxAttempts: 8,
		DeadLetter: func(_ context.Context, d *tasks.Delivery, cause error) error {
			fmt.Printf("dead letter: %s: %v\n", d.Body, cause)
			return nil
		},
		Logger: slog.New(slog.DiscardHandler),
	}, func(_ context.Context, d *tasks.Delivery) error {
		if !strings.Contains(string(d.Body), "@") {
			return tasks.Permanent(errors.New("no such address"))
		}
		fmt.Printf("attempt %d from %s: %s\n", d.Attempt, d.Caller.Email, d.Body)
		return nil
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	for _, to := range []string{"ada@example.com", "nobody"} {
		r := httptest.NewRequest(http.MethodPost, "/welcome", strings.NewReader(to))
		r.Header.Set("Authorization", "Bearer "+issuer.Token("login@shop.iam.gserviceaccount.com", "https://mailer.example.com"))
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		fmt.Println(w.Code)
	}
	// Output:
	// attempt 1 from login@shop.iam.gserviceaccount.com: ada@example.com
	// 204
	// dead letter: nobody: no such address
	// 204
}
