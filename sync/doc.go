// Package sync is request and reply over HTTP with ID tokens: a client that
// attaches a token for one audience, and only to its origin, an http.Handler
// that verifies it, and errors that cross the wire with a code.
//
// Its name is that of a package of the standard library. Import it under an
// alias where both are needed:
//
//	import (
//		"sync"
//
//		wsync "waybill.dev/sync"
//	)
//
// # Usage
//
// The caller:
//
//	client, err := wsync.NewClient(wsync.ClientConfig{
//		URL:      "https://profiles.example.com",
//		Audience: "https://profiles.example.com",
//		Tokens:   minter,
//	})
//	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://profiles.example.com/get", bytes.NewReader(query))
//	resp, err := client.Do(req)
//	if err != nil {
//		return err
//	}
//	defer resp.Body.Close()
//	if err := wsync.ReadError(resp); err != nil { // *wsync.Error, with a code
//		return err
//	}
//
// The receiver:
//
//	handler, err := wsync.NewHandler(wsync.HandlerConfig{Verifier: verifier},
//		func(ctx context.Context, r *wsync.Request) (*wsync.Response, error) {
//			...
//			return nil, wsync.Errorf(wsync.NotFound, "no profile of %s", id)
//		})
//
// # The token
//
// A token is minted before each attempt, for the configured audience, and sent
// in Authorization and X-Serverless-Authorization: Cloud Run takes the signature
// out of the second and leaves the first for the receiver. A request to another
// origin fails before anything is minted. A redirect is not followed: it comes
// back as [ErrRedirect].
//
// # Retries
//
// [Client.Do] repeats, with backoff, what is safe to repeat:
//
//	any request         when no connection could be made; on 429; on a 503 that
//	                    carries Waybill-Retry: safe, the receiver's word that it
//	                    did not act on the request
//	an idempotent one   on a broken connection, 408, 500, 502, 503, 504 as well
//
// Idempotent are GET, HEAD, OPTIONS, TRACE, PUT and DELETE, and what
// [WithIdempotent] says. The context's deadline spans the retries; a wait that
// would outlast it is not begun, and the answer at hand is returned. Retry-After
// is honoured. A request that may have been acted on and got no answer fails with
// [ErrAmbiguous]; one that was never sent does not. A body is repeated through Request.GetBody, which http.NewRequest
// sets for the readers that it knows; a request without it is sent once.
//
// A [RetryBudget] bounds all retries to one target together: one for each ten
// requests beyond a small reserve. A request that could have been repeated but
// for it ends with its last answer, of which [ReadError] makes an error that
// wraps [ErrRetryBudget], or with an error that does.
//
// # Deadlines
//
// What is left of the context's deadline crosses the wire as
// Waybill-Timeout-Ms, a number of milliseconds, with each attempt. The handler's
// context ends at the earlier of that and [HandlerConfig.Deadline], and a request
// that it makes under its context passes on what is left. Nothing else does: a
// deadline belongs to whoever waits for an answer.
//
// # Answers
//
// A handler's error says what the caller gets:
//
//	an [*Error]            its code's status, with its text
//	[Permanent]            422; the text of an *Error inside, none of any other
//	[RetryAfter]           503 with Retry-After and Waybill-Retry: safe
//	a missed deadline      504
//	any other, or a panic  500, code internal, with an id and no text
//
// The id is the request's ce-id header, else a new one, and stands in the
// receiver's log beside the error. An *Error that came from another service by
// [ReadError] does not cross a second time: it counts as any other error.
//
// Before the handler runs: 405 if not POST, 401 and 403 if the caller is not who
// it must be, 503 if the keys to verify it cannot be had, 400 if the body stops
// half-way, 413 if it is above MaxBody.
//
// # Concurrency
//
// A [Client] and a handler may be used by many goroutines. [Client.Close] closes
// idle connections.
//
// # Testing
//
// A client speaks plain http to loopback addresses, so an httptest.Server will
// do; any auth.TokenSource can be its tokens.
//
// # Sources
//
// Two Authorization headers on Cloud Run:
// https://cloud.google.com/run/docs/authenticating/service-to-service; codes and
// their statuses: https://connectrpc.com/docs/protocol#error-codes; Retry-After:
// RFC 9110, section 10.2.3.
package sync
