// Package clienttest has no code of its own: its tests run Google's own clients against the emulator, each unmodified and
// pointed at it by what its documentation names.
//
//   - The official Go clients: Cloud Tasks by gRPC and by REST, Pub/Sub's v2 and v1.
//   - The Node clients @google-cloud/tasks, by gRPC and by its REST fallback, and @google-cloud/pubsub. Their exact versions
//     are in node/package-lock.json. They are installed once, in the user's cache directory.
//   - The gcloud command, which speaks REST.
//
// What is not on the machine is skipped with a sentence, and fails where WAYBILL_REQUIRE=all says that everything must be
// there. The longest scenarios run under WAYBILL_REQUIRE=all alone, and -short leaves out every program that is not Go.
package clienttest
