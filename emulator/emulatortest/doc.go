// Package emulatortest starts emulators for tests, which clean up after themselves.
//
// # Usage
//
//	func TestSignUp(t *testing.T) {
//		e := emulatortest.Start(t, emulator.Config{Resources: emulator.Resources{
//			Queues: []*cloudtaskspb.Queue{{Name: "mails"}},
//		}})
//		emulatortest.Setenv(t, e) // Google's clients in this process use it
//		...
//		if _, err := e.Skip(t.Context(), 0); err != nil { // to the next retry
//			t.Fatal(err)
//		}
//	}
//
// Each emulator listens on a free port of its own, so tests may run in parallel; [Setenv] changes the process, and is for
// tests that do not. What the emulator logs, as deliveries that fail, is in the test's own log.
//
// # The end of a test
//
// The emulator stops when the test and its subtests are over. If a delivery is still on its way then, and does not end
// within a few seconds, the test fails: its receiver hangs, or the test did not wait for what it has set off. A
// receiver that is closed by t.Cleanup should be started after the emulator, so that it is closed before: closing an
// [net/http/httptest.Server] waits for the requests it handles.
//
// Tasks and messages that wait for a retry are no failure. They end with the emulator.
package emulatortest
