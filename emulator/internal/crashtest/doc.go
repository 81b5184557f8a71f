// Package crashtest kills an emulator that keeps its data, again and again, and looks for what was lost.
//
// The emulator is a process of its own: the test binary, started anew. Google's Go client creates, deletes, pauses and
// resumes, 16 calls at a time; a receiver in the test answers the deliveries. At a random moment the process gets SIGKILL, and another one
// starts on the same directory. What a client was told must still be so, and what the receiver has seen must fit:
//
//   - Each task whose creation was acknowledged was delivered, or is still listed.
//   - A task whose deletion was acknowledged is neither listed nor delivered in a later life.
//   - Within one life, no task is delivered again after a success, and retry counts go up by one. Over a crash a retry
//     count never goes down.
//   - A name stays taken, a paused queue stays paused, a deleted one stays deleted.
//
// A delivery that was answered with success may come once more after a crash: its end was not yet on the disk. These
// duplicates are counted, see the test's output.
//
// With Pub/Sub, eight publishers and a consumer of each kind are at work: pulls, filters, streams under exactly-once
// delivery with and without ordering keys, a push endpoint, and nacks that make dead letters. Then:
//
//   - Each message whose publish was acknowledged is received by each subscription that is to have it, as a dead letter too.
//   - A message whose acknowledgement was confirmed never comes again, with or without exactly-once delivery.
//   - Ids are those that the publisher was told, and rise from life to life; the order of each key holds in every life.
//
// A message comes again if it was received and its acknowledgement not confirmed when the crash came: as many as the
// consumer may hold, at most. Of pushes and dead letters, the end is not on the disk for some milliseconds.
//
// 200 crashes and 100,000 acknowledged tasks take about two minutes, and run with WAYBILL_REQUIRE=all alone; otherwise
// there are ten crashes. So it is with 200 crashes and 200,000 messages, which take two and a half.
package crashtest
