// Package store keeps the emulator's state in a directory, for both of its services.
//
// # Usage
//
//	s, err := store.Open(store.Config{Dir: "data"})
//	err = s.Scan([]byte("t"), load)  // what an earlier process has left
//	s.Set(key, value)                // buffered, never waits for the disk
//	err = s.Sync()                   // before the change is acknowledged
//	s.Flush()                        // after a change that nobody waits for
//	err = s.Close()
//
// The first byte of a key is its owner's: t is Cloud Tasks, p Pub/Sub, e the emulator itself.
//
// # Guarantees
//
// What was buffered before a Sync that returned nil is there after the end of the process, a kill -9, or a loss of power. Of what
// was buffered later, a crash keeps the first operations and loses the rest; there is never one without those before it. So
// an owner orders the operations of one change such that each beginning of them makes sense.
//
// One write to the disk serves all who wait: the first of them makes it, and while it is on its way the next
// ones gather. There is no goroutine for it, no timer but after a Flush, and an idle Store does nothing.
//
// # Errors
//
// When a call to the disk fails, so does the Sync that needed it, and nothing else: the process goes on. Everything that was not
// acknowledged stays buffered. A later call, after a tenth of a second, opens the directory anew and writes it, so all
// goes on once a full disk has room. [Store.Ready] asks beforehand. Of what is buffered meanwhile, only the last change of each key is
// kept; so that takes no more memory than the keys that there are, however long the disk stays full.
//
// [Open] and [Store.Scan] read without changing a byte; the directory is changed by the first write after that. A
// directory that is not the emulator's, has another version's format, is in use or is damaged ([ErrDamaged]) gets an error that
// says what to do. Two kinds of damage go unnoticed, and what was in the log is lost with it, when the emulator was killed: that the
// end of its newest log goes missing, which cannot be told from a loss of power; and that the older of two logs does, where the kill
// came in the milliseconds in which a table was written. (The library's manifest says which log is the first to be read, but
// after each start it names one that was never made. So a healthy directory looks the same.) After an orderly Close nothing depends on a
// log.
//
// # Concurrency
//
// A [Store] is safe for concurrent use. A nil one keeps nothing and works.
//
// # Why Pebble
//
// Two libraries are well kept: bbolt (a B+ tree in one file) and Pebble (a log and sorted tables). Time per synced
// write of values of 500 bytes, on two cores and a virtual disk whose fdatasync takes 0.2 ms; medians of six rounds by turns,
// with spreads up to a third:
//
//	                  bbolt v1.5.0  Pebble v2.1.7
//	1 put                 0.33 ms       0.23 ms
//	16 puts               0.44 ms       0.28 ms
//	256 puts              1.03 ms       0.40 ms
//	1 delete              0.30 ms       0.22 ms
//	16 deletes            0.38 ms       0.15 ms
//	256 deletes           1.07 ms       0.33 ms
//
// Pebble is the faster one; what decides is that it takes its file system as an interface, so that each of its calls can be made
// to fail in a test, and a disk can lose what was not synced. bbolt takes an *os.File alone.
//
// Pebble answers some failed writes by ending the process, by a panic, or by trying again without a pause. Here it never
// sees a failed write; how that is done is said at the type disk.
//
// # Testing
//
// pending_test.go keeps a disk full for minutes, under load.
// fault_test.go makes each call to the disk fail, once and for longer, with EIO and with ENOSPC. crash_test.go takes the power away at random moments.
// directory_test.go damages each file in each of several ways. fulldisk_test.go has a small disk.
package store
