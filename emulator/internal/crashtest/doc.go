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
// 200 crashes and 100,000 acknowledged tasks take about two minutes, and run with WAYBILL_REQUIRE=all alone; otherwise
// there are ten crashes.
package crashtest
