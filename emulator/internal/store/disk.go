package store

import (
	"io/fs"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// disk is the file system as one opened database sees it. It works until the first call that should change something
// and fails. From then on it is frozen: nothing changes below it any more, and above it every change seems to
// succeed. For the directory this is as if the process had been killed at that moment, from which a database recovers.
// The database on top does not notice, so that it can be closed in good order. It has, in many places, no
// other answer to a failed write than to end the process, to panic, or to try again without a pause.
//
// Reading fails on a frozen disk. A database that could go on to merge tables after a failed read would
// drop one that it still counts as read, and panic.
//
// Whoever uses the database must ask after each write whether the disk has been frozen meanwhile: then
// the write has not happened.
type disk struct {
	vfs.FS
	frozen   atomic.Pointer[error]
	failed   func() // called once, when the disk freezes; from any goroutine, so it must not call the database
	readOnly bool   // frozen from the start, and still readable
}

// freeze stops every change. The first error counts.
func (d *disk) freeze(err error) {
	if d.frozen.CompareAndSwap(nil, &err) && d.failed != nil {
		d.failed()
	}
}

// err is why the disk is frozen, or nil.
func (d *disk) err() error {
	if err := d.frozen.Load(); err != nil {
		return *err
	}
	return nil
}

// blind tells that nothing can be read.
func (d *disk) blind() bool { return !d.readOnly && d.frozen.Load() != nil }

// change runs a change, or only seems to.
func (d *disk) change(do func() error) error {
	if d.frozen.Load() != nil {
		return nil
	}
	err := do()
	if err != nil && !isNotExist(err) {
		d.freeze(err)
		return nil
	}
	return err
}

// writable opens a file for writing, or one that only seems to be.
func (d *disk) writable(name string, open func() (vfs.File, error)) (vfs.File, error) {
	f := &file{disk: d, name: d.PathBase(name)}
	err := d.change(func() (err error) {
		f.File, err = open()
		return err
	})
	return f, err
}

// Create implements vfs.FS.
func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.writable(name, func() (vfs.File, error) { return d.FS.Create(name, c) })
}

// OpenReadWrite implements vfs.FS.
func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.writable(name, func() (vfs.File, error) { return d.FS.OpenReadWrite(name, c, opts...) })
}

// ReuseForWrite implements vfs.FS.
func (d *disk) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.writable(to, func() (vfs.File, error) { return d.FS.ReuseForWrite(from, to, c) })
}

// Open implements vfs.FS.
func (d *disk) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if d.blind() {
		return nil, d.err()
	}
	f, err := d.FS.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	return &file{File: f, disk: d, name: d.PathBase(name)}, nil
}

// List implements vfs.FS. It is the one call that reads and freezes the disk: when it fails late, while a database
// opens, that would stop and leave goroutines behind that use what it has freed.
func (d *disk) List(name string) ([]string, error) {
	if d.blind() {
		return nil, nil // as if it were empty
	}
	names, err := d.FS.List(name)
	if err != nil && !d.readOnly {
		d.freeze(err)
		return nil, nil
	}
	return names, err
}

// OpenDir implements vfs.FS. Directories are opened to be synced.
func (d *disk) OpenDir(name string) (vfs.File, error) {
	f, err := d.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &file{File: f, disk: d, name: d.PathBase(name)}, nil
}

// Link implements vfs.FS.
func (d *disk) Link(from, to string) error {
	return d.change(func() error { return d.FS.Link(from, to) })
}

// Remove implements vfs.FS.
func (d *disk) Remove(name string) error {
	return d.change(func() error { return d.FS.Remove(name) })
}

// RemoveAll implements vfs.FS.
func (d *disk) RemoveAll(name string) error {
	return d.change(func() error { return d.FS.RemoveAll(name) })
}

// Rename implements vfs.FS.
func (d *disk) Rename(from, to string) error {
	return d.change(func() error { return d.FS.Rename(from, to) })
}

// MkdirAll implements vfs.FS.
func (d *disk) MkdirAll(name string, perm fs.FileMode) error {
	return d.change(func() error { return d.FS.MkdirAll(name, perm) })
}

// Unwrap implements vfs.FS.
func (d *disk) Unwrap() vfs.FS { return d.FS }

// file is a file or directory on a disk. The one below is nil if opening it was what froze the disk, or came later.
type file struct {
	vfs.File
	disk *disk
	name string
	size atomic.Int64 // as far as the database can tell
}

// Write implements vfs.File.
func (f *file) Write(p []byte) (int, error) {
	f.size.Add(int64(len(p)))
	return len(p), f.disk.change(func() error {
		_, err := f.File.Write(p)
		return err
	})
}

// WriteAt implements vfs.File.
func (f *file) WriteAt(p []byte, at int64) (int, error) {
	return len(p), f.disk.change(func() error {
		_, err := f.File.WriteAt(p, at)
		return err
	})
}

// Sync implements vfs.File.
func (f *file) Sync() error { return f.disk.change(func() error { return f.File.Sync() }) }

// SyncData implements vfs.File.
func (f *file) SyncData() error { return f.disk.change(func() error { return f.File.SyncData() }) }

// SyncTo implements vfs.File.
func (f *file) SyncTo(length int64) (full bool, err error) {
	return full, f.disk.change(func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
}

// Preallocate implements vfs.File. It is advice: without the room, writing fails.
func (f *file) Preallocate(offset, length int64) error {
	if f.File != nil && f.disk.frozen.Load() == nil {
		_ = f.File.Preallocate(offset, length)
	}
	return nil
}

// Close implements vfs.File. It really closes the file, also on a frozen disk.
func (f *file) Close() error {
	if f.File == nil {
		return nil
	}
	err := f.File.Close()
	if err != nil {
		f.disk.freeze(err)
	}
	return nil
}

// Read implements vfs.File.
func (f *file) Read(p []byte) (int, error) {
	if f.disk.blind() {
		return 0, f.disk.err()
	}
	return f.File.Read(p)
}

// ReadAt implements vfs.File.
func (f *file) ReadAt(p []byte, at int64) (int, error) {
	if f.disk.blind() {
		return 0, f.disk.err()
	}
	return f.File.ReadAt(p, at)
}

// Prefetch implements vfs.File.
func (f *file) Prefetch(offset, length int64) error {
	if f.disk.blind() {
		return nil
	}
	return f.File.Prefetch(offset, length)
}

// Fd implements vfs.File. There is none, so that nobody writes past this type.
func (f *file) Fd() uintptr { return vfs.InvalidFd }

// Stat implements vfs.File.
func (f *file) Stat() (vfs.FileInfo, error) {
	if f.File == nil {
		return seeming{f.name, f.size.Load()}, nil
	}
	return f.File.Stat()
}

// seeming describes a file that is not there.
type seeming struct {
	name string
	size int64
}

func (s seeming) Name() string           { return s.name }
func (s seeming) Size() int64            { return s.size }
func (s seeming) Mode() fs.FileMode      { return 0o600 }
func (s seeming) ModTime() time.Time     { return time.Time{} }
func (s seeming) IsDir() bool            { return false }
func (s seeming) Sys() any               { return nil }
func (s seeming) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
