// Package auth knows who calls: it mints ID tokens for outgoing requests and verifies those of incoming ones.
//
// # Verifying
//
// A [Verifier] is made once, with the audiences of this service and the accounts that may call it. Neither can be left
// out: anybody with a Google Cloud project can obtain a correctly signed token for any audience, so only the list of
// callers keeps strangers out.
//
//	v, err := auth.NewVerifier(auth.VerifierConfig{
//		Audiences: []string{"https://mailer-abc123.europe-west1.run.app"},
//		Callers:   []string{"login@shop.iam.gserviceaccount.com"},
//	})
//	http.Handle("/welcome", v.Middleware(handler)) // handler: auth.IdentityFrom(r.Context())
//
// [Verifier.ForCallers] gives each route its own callers, with the same keys and the same cache.
//
// A token is accepted only if all of this holds:
//   - it is in the Authorization header, alone, after Bearer;
//   - it has at most 8 KiB, three segments of strict base64url, and two JSON objects that every reader understands in
//     the same way (no duplicate member, in whatever case);
//   - its alg is RS256, its typ JWT or missing, its kid known, and it has no crit; jku, jwk and x5u are never followed;
//   - its signature matches, which google.golang.org/api/idtoken checks, but only once the token has passed all of the
//     above: idtoken alone reads leniently and panics on some input;
//   - its iss is Google's, its aud is exactly one of the audiences, its exp lies ahead, its iat and nbf do not (but for
//     a minute's skew), and it lives for an hour at most;
//   - its email is one of the callers and its email_verified is true.
//
// Nothing else is identity: no X-CloudTasks- or X-Goog- header, no query parameter, no Host.
//
// Tokens that were verified are remembered by their SHA-256 until they expire, or until their key is withdrawn; the
// caller is compared with the declared ones each time.
//
// # Behind Cloud Run
//
// Cloud Run checks the token of a request to a private service itself and hands it on with its signature replaced by
// SIGNATURE_REMOVED_BY_GOOGLE (https://cloud.google.com/run/docs/troubleshooting). Such a token is refused with
// [ErrSignatureRemoved] unless VerifierConfig.PlatformAsserts says that the platform's word counts. On a service that
// anybody may invoke it must not be set: there, anybody can send that marker. [Identity].Assurance says which it was.
//
// # Behind Identity-Aware Proxy
//
// [NewIAPVerifier] makes a Verifier of the assertions in the header X-Goog-Iap-Jwt-Assertion, by which IAP says who has
// signed in: ES256, IAP's own keys and issuer, ten minutes. All else is as above.
//
// # Explaining
//
// [Explain] shows a token to a Verifier and tells how each of its checks goes, also of those after the first that fails:
// what was expected, what came, and what to change. It prints as a table and marshals as JSON, without the token.
//
// # Keys
//
// A [KeySet] fetches the issuer's public keys when they are needed, one request at a time and at most one in 30 s,
// however many tokens name unknown keys. While the endpoint is down, slow or answers nonsense, known keys serve on for
// six hours beyond their age. A new key is found within one refresh; a withdrawn one is refused from then on.
// Against an emulator only KeySetConfig.URL differs.
//
// # Minting
//
// A [Minter] is a [TokenSource]. It mints wherever a Go service runs:
//   - Cloud Run, GKE, Compute Engine: the metadata server names the attached account; nothing is configured;
//   - elsewhere, with workload identity federation: the configuration file that gcloud writes, which must name a service
//     account to impersonate;
//   - elsewhere, with a service account's key: the assertion that it signs is exchanged at its token endpoint;
//   - a developer's own login, which gets no ID tokens for services: MinterConfig.Impersonate names the account to mint
//     for, and the IAM Credentials API (generateIdToken) mints.
//
// Where credentials are not configured they are the application default ones. The audience is the receiver's, as its
// verifier expects it; for a target behind Identity-Aware Proxy it is IAP's client ID.
//
// A Minter keeps one token per audience and refreshes it five minutes early. Getting a token from memory takes no lock
// and allocates nothing. Where a token may be sent is not its business: waybill.dev/sync sends it to one origin and
// never follows a redirect.
//
// # Errors
//
// A refusal is an [*Error] around one of the sentinels ([ErrAudience], [ErrCaller] ...); a failure to mint is a
// [*MintError] ([ErrCredentials], [ErrMintUnavailable] ...). Both say what came, what was expected and what to do.
// [Status] and [WriteError] turn a refusal into HTTP: 401, 403 for a caller that is not declared, 400 for two
// Authorization headers, and 503 with Retry-After when the keys are not available, since then nothing is known about
// the token. Tokens, keys and credentials never appear in an error, an answer or a log. The text of an answer never
// lists who else may call.
//
// # Concurrency
//
// All types are safe for concurrent use. Goroutines run only while a request to a key or token endpoint is under way;
// such a request outlives a caller who gives up, because others wait for it. Close ends it and waits for it.
//
// # Testing
//
// Put an Identity into a context by [ContextWithIdentity] to test a handler alone. To test verification, serve a JWKS
// document over loopback http, name it in KeySetConfig.URL and sign tokens with your own key. The clocks can be replaced
// (Now), with one exception: idtoken compares exp with time.Now. Inside a testing/synctest bubble all follow the bubble.
package auth
