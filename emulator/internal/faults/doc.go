// Package faults lets a developer break deliveries on demand, the same way for tasks and for pushes.
//
// # Usage
//
//	var set faults.Set
//	client := &http.Client{Transport: set.Transport(transport)} // carries every delivery
//	ctx = faults.WithSource(ctx, "projects/shop/locations/us-central1/queues/mails")
//	fault := set.Add(faults.Rule{Source: "projects/shop/locations/us-central1/queues/mails", Status: 503, Times: 2})
//
// Who makes deliveries says by [WithSource] for which queue or subscription. A [Rule] applies to one source, to the
// targets whose URL begins with a prefix, to both together, or to everything.
//
// # Which rule acts
//
// At most one for each request: the oldest of those that apply, that are not used up, and whose probability says so.
// So rules with a number of times follow each other: two answers of 503, then a lost answer, then nothing.
//
// Each Rule draws from a sequence of its own, which its seed decides: the same requests in the same order meet the same
// faults. Without rules a request costs one atomic load.
//
// Latencies run on the wall clock, as the deadlines of requests do, and end with the request's context.
//
// # Concurrency
//
// A [Set] is safe for concurrent use. It starts no goroutine.
package faults
