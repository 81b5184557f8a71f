package store_test

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"waybill.dev/emulator/internal/store"
)

// benchValue is a task's size.
var benchValue = make([]byte, 500)

// BenchmarkSync is a durable write by each of so many callers at once; an operation is one write.
func BenchmarkSync(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			s, err := store.Open(store.Config{Dir: b.TempDir(), Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			parallel(b, callers, func(key []byte) error {
				s.Set(key, benchValue)
				return s.Sync()
			})
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkPebble is the same by the library's own commits, each of them synced.
func BenchmarkPebble(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			db, err := pebble.Open(b.TempDir(), &pebble.Options{Logger: quiet{}})
			if err != nil {
				b.Fatal(err)
			}
			parallel(b, callers, func(key []byte) error { return db.Set(key, benchValue, pebble.Sync) })
			if err := db.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}

func parallel(b *testing.B, callers int, write func(key []byte) error) {
	var n atomic.Uint64
	b.SetParallelism(callers) // times GOMAXPROCS
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := write(binary.BigEndian.AppendUint64([]byte("t"), n.Add(1))); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkBatch is a write of so many pairs, with one sync, or their deletion.
func BenchmarkBatch(b *testing.B) {
	for _, remove := range []bool{false, true} {
		for _, size := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("delete=%v/size=%d", remove, size), func(b *testing.B) {
				s, err := store.Open(store.Config{Dir: b.TempDir(), Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					b.Fatal(err)
				}
				key := func(n int) []byte { return binary.BigEndian.AppendUint64([]byte("t"), uint64(n)) }
				if remove {
					for n := range b.N * size {
						s.Set(key(n), benchValue)
						if n%1000 == 999 {
							if err := s.Sync(); err != nil {
								b.Fatal(err)
							}
						}
					}
				}
				b.ResetTimer()
				for i := range b.N {
					for n := range size {
						if remove {
							s.Delete(key(i*size + n))
						} else {
							s.Set(key(i*size+n), benchValue)
						}
					}
					if err := s.Sync(); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}
