// Package upstream stands in front of Google's own Pub/Sub emulator and adds what it lacks: pushes
// that are signed.
//
// Google's emulator pushes without a token. The [Proxy] passes every call through to it, except
// that it puts a URL of ours in place of a push subscription's endpoint, and gives the user's own
// push configuration back wherever a subscription is shown. What Google's emulator pushes to our
// URL, [Proxy.ServeHTTP] sends on to the user's endpoint with an ID token of the subscription's
// account and audience; the receiver's status is the answer, so retries, ordering and deadlines
// stay Google's.
//
// # Usage
//
//	proxy, err := upstream.New(upstream.Config{
//		Upstream: "127.0.0.1:8086",
//		PushURL:  "http://127.0.0.1:8085/_waybill/upstream-push/", // where Google's emulator reaches ServeHTTP
//		Signer:   issuer,
//	})
//	proxy.Register(grpcServer)
//	mux.Handle("/_waybill/upstream-push/", proxy)
//	defer proxy.Close()
//
// # Limits
//
// The user's push configurations are kept in memory, under an unguessable name in the URL: nobody
// else can have requests signed. Subscriptions that an earlier Proxy created on an upstream that
// is still running therefore show our URL, and their pushes are refused with 404, which is logged once
// for each, until they have a push configuration again: by deleting and creating them,
// by ModifyPushConfig or UpdateSubscription, or by a CreateSubscription that is answered with
// ALREADY_EXISTS. The last heals only those, and changes nothing else of them.
//
// UpdateSubscription takes push_config as a whole, not single fields of it.
package upstream
