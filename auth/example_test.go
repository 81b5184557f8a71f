package auth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"waybill.dev/auth"
)

// A handler that only login may reach. In production Keys is left out: Google's are used.
func ExampleVerifier_Middleware() {
	jwks := startKeyServer(key1().jwk(nil)) // plays https://www.googleapis.com/oauth2/v3/certs
	defer jwks.Close()
	keys, err := auth.NewKeySet(auth.KeySetConfig{URL: jwks.URL})
	if err != nil {
		panic(err)
	}
	verifier, err := auth.NewVerifier(auth.VerifierConfig{
		Audiences: []string{"https://mailer.example"},
		Callers:   []string{"login@shop.iam.gserviceaccount.com"},
		Keys:      keys,
		Logger:    slog.New(slog.DiscardHandler),
	})
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(verifier.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := auth.IdentityFrom(r.Context())
		fmt.Fprintf(w, "hello %s (%s)\n", caller.Email, caller.Assurance)
	})))
	defer server.Close()

	call := func(token string) {
		r, _ := http.NewRequestWithContext(context.Background(), http.MethodPost, server.URL, http.NoBody)
		r.Header.Set("Authorization", "Bearer "+token)
		res, err := server.Client().Do(r)
		if err != nil {
			panic(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		fmt.Printf("%d %s", res.StatusCode, body)
	}
	call(key1().token(object{"email": "login@shop.iam.gserviceaccount.com"}))
	call(key1().token(object{"aud": "https://search.example"}))
	call(key1().token(object{"email": "search@shop.iam.gserviceaccount.com"}))
	call("ya29.a0AfB")
	// Output:
	// 200 hello login@shop.iam.gserviceaccount.com (verified)
	// 401 auth: the token is for another audience: it is for "https://search.example"; this service expects "https://mailer.example": mint the token for that audience, or add the other one to VerifierConfig.Audiences
	// 403 auth: the caller is not declared: "search@shop.iam.gserviceaccount.com" may not call this: if it should, declare it (with dispatch: dispatch.From on the route; otherwise VerifierConfig.Callers or Verifier.ForCallers)
	// 401 auth: not a well-formed ID token: this is an access token, not an ID token: call with an ID token for this service's audience (auth.Minter; by hand: gcloud auth print-identity-token --impersonate-service-account=ACCOUNT --include-email --audiences=AUDIENCE)
}

// One verifier for each route of a service, with the same keys and the same cache.
func ExampleVerifier_ForCallers() {
	verifier, err := auth.NewVerifier(auth.VerifierConfig{
		Audiences: []string{"https://mailer.example"},
		Callers:   []string{"login@shop.iam.gserviceaccount.com"},
	})
	if err != nil {
		panic(err)
	}
	forPush, err := verifier.ForCallers("shop-push@shop.iam.gserviceaccount.com")
	fmt.Println(forPush != nil, err)
	_, err = verifier.ForCallers("serviceAccount:login@shop.iam.gserviceaccount.com")
	fmt.Println(err)
	// Output:
	// true <nil>
	// auth: the caller "serviceAccount:login@shop.iam.gserviceaccount.com" is an IAM member: name the email alone, without a prefix
}

// Everything that is wrong with a configuration is reported at once.
func ExampleNewVerifier() {
	_, err := auth.NewVerifier(auth.VerifierConfig{})
	fmt.Println(err)
	// Output:
	// auth: VerifierConfig.Audiences is empty: name the URL that this service's callers mint their tokens for, such as https://mailer-abc.a.run.app
	// auth: no callers are declared: name the service accounts that may call, such as login@PROJECT.iam.gserviceaccount.com
}

// On Google Cloud the zero MinterConfig is enough: auth.NewMinter(auth.MinterConfig{}).
func ExampleMinter() {
	issuer := startIssuer() // plays https://oauth2.googleapis.com/token
	defer issuer.Close()
	minter, err := auth.NewMinter(auth.MinterConfig{CredentialsJSON: issuer.keyFile(), Now: issuer.clock.Now})
	if err != nil {
		panic(err)
	}
	defer minter.Close()

	ctx := context.Background()
	first, err := minter.Token(ctx, "https://mailer.example")
	if err != nil {
		panic(err)
	}
	second, err := minter.Token(ctx, "https://mailer.example")
	fmt.Println(first == second, err, issuer.asked.Load())
	// Output: true <nil> 1
}

// A developer's own login has no ID tokens for services. The error says what to do.
func ExampleNewMinter() {
	_, err := auth.NewMinter(auth.MinterConfig{CredentialsJSON: []byte(`{"type": "authorized_user", "refresh_token": "..."}`)})
	fmt.Println(errors.Is(err, auth.ErrCredentials))
	fmt.Println(err)
	// Output:
	// true
	// auth: these credentials cannot mint an ID token: MinterConfig.CredentialsJSON is a developer's own login, which gets no ID tokens for services. Impersonate a service account instead: name it in MinterConfig.Impersonate, or once for all programs: gcloud auth application-default login --impersonate-service-account=ACCOUNT@PROJECT.iam.gserviceaccount.com (you need roles/iam.serviceAccountTokenCreator on that account); against the emulator, use the key file that it gives for the service
}
