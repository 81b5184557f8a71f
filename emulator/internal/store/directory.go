package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// marker is the file by which a directory is known to be ours.
	marker     = "WAYBILL-EMULATOR"
	newMarker  = marker + ".new"
	lockFile   = "LOCK" // the library's name
	markerText = "Data of Waybill's emulator, version 1.\nDelete the whole directory to start anew; do not change or copy single files.\n"
)

var markerVersion = regexp.MustCompile(`^Data of Waybill's emulator, version (\d+)\.\n`)

// directory is where a store's files are.
type directory struct {
	fs   vfs.FS
	path string
}

// state is what a directory has.
type state int

const (
	empty    state = iota // nothing, or what a start that was killed has left before there was anything to keep
	unborn                // our marker, and no database yet
	existing              // our marker and a database
)

// inspect looks at the directory without changing it.
func (d directory) inspect() (state, error) {
	names, err := d.fs.List(d.path)
	if isNotExist(err) {
		return empty, nil
	}
	if err != nil {
		return 0, d.errorf("cannot be read", "check its path and its permissions", err)
	}
	ours, others := false, false
	for _, name := range names {
		switch name {
		case marker:
			ours = true
		case lockFile, newMarker:
		default:
			others = true
		}
	}
	switch {
	case !ours && others:
		return 0, d.errorf("has files, but is not the emulator's", "give an empty directory, or one that does not exist", nil)
	case !ours:
		return empty, nil
	}
	if err := d.checkMarker(); err != nil {
		return 0, err
	}
	found, err := pebble.Peek(d.path, d.fs)
	if err != nil {
		return 0, d.damaged(err)
	}
	if found.Exists {
		if found.OptionsFilename != "" && !slices.ContainsFunc(names, isLog) { // which is written after the first log
			return 0, d.damaged(errors.New("the log is missing"))
		}
		return existing, nil
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") || isLog(name) || strings.HasPrefix(name, "OPTIONS-") {
			return 0, d.damaged(errors.New("the file that names the manifest is missing"))
		}
	}
	return unborn, nil
}

func (d directory) checkMarker() error {
	f, err := d.fs.Open(d.fs.PathJoin(d.path, marker))
	if err != nil {
		return d.errorf("cannot be read", "check its permissions", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, 4<<10))
	if err != nil {
		return d.errorf("cannot be read", "check its permissions", err)
	}
	if string(text) == markerText {
		return nil
	}
	if v := markerVersion.FindSubmatch(text); v != nil && string(v[1]) != "1" {
		return d.errorf("has the format version "+string(v[1])+", and this emulator knows version 1", "use the emulator that wrote it, or another directory", nil)
	}
	return d.damaged(fmt.Errorf("the file %s does not say what it should", marker))
}

// mark makes the directory ours.
func (d directory) mark() error {
	f, err := d.fs.Create(d.fs.PathJoin(d.path, newMarker), vfs.WriteCategoryUnspecified)
	if err != nil {
		return d.unwritable(err)
	}
	_, err = f.Write([]byte(markerText))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = d.fs.Rename(d.fs.PathJoin(d.path, newMarker), d.fs.PathJoin(d.path, marker))
	}
	if err == nil {
		err = d.sync()
	}
	if err != nil {
		return d.unwritable(err)
	}
	return nil
}

// sync makes the names in the directory durable.
func (d directory) sync() error {
	f, err := d.fs.OpenDir(d.path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// errorf says what is wrong with the directory and what to do.
func (d directory) errorf(what, do string, cause error) error {
	if cause == nil {
		return fmt.Errorf("store: the directory %q %s: %s", d.path, what, do)
	}
	return fmt.Errorf("store: the directory %q %s: %s: %w", d.path, what, do, oneLine{cause})
}

// oneLine is an error in one line: the library repeats itself on several.
type oneLine struct{ error }

func (e oneLine) Error() string {
	line, _, _ := strings.Cut(e.error.Error(), "\n")
	return line
}

func (e oneLine) Unwrap() error { return e.error }

func (d directory) damaged(cause error) error {
	return d.errorf("is damaged, and was left as it is", "restore it from a copy, or use another one", errDamaged{cause})
}

func (d directory) unwritable(cause error) error {
	return d.errorf("cannot be written", "check its permissions and the room on its disk", cause)
}

func isLog(name string) bool { return strings.HasSuffix(name, ".log") }

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// ErrDamaged matches errors about a directory whose content is not what was written.
var ErrDamaged = errors.New("store: damaged")

type errDamaged struct{ error }

func (e errDamaged) Unwrap() error        { return e.error }
func (e errDamaged) Is(target error) bool { return target == ErrDamaged }
