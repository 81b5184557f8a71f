package httpserve

import (
	"path"
	"runtime"
	"strconv"
	"strings"
)

const (
	maxFrames = 16
	boundary  = "waybill.dev/internal/httpserve" // runs the user's code
)

// stack is where a panic came from, for one line of a log: the frames between
// the panic and this package, the innermost first, without the machinery's. It
// is called by [Recover].
func stack() string {
	var counters [64]uintptr
	frames := runtime.CallersFrames(counters[:runtime.Callers(3, counters[:])]) // without Callers, stack and Recover
	var b strings.Builder
	for kept, more := 0, true; more && kept < maxFrames; {
		var f runtime.Frame
		f, more = frames.Next()
		switch packageOf(f.Function) {
		case boundary:
			return b.String()
		case "", "runtime", "runtime/debug", "net/http":
			continue
		}
		if kept > 0 {
			b.WriteString(" < ")
		}
		kept++
		b.WriteString(path.Base(f.Function))
		b.WriteByte(' ')
		dir, file := path.Split(f.File)
		b.WriteString(path.Join(path.Base(dir), file))
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(f.Line))
	}
	return b.String()
}

// packageOf is the import path in a function's full name.
func packageOf(function string) string {
	slash := strings.LastIndexByte(function, '/') + 1
	dot := strings.IndexByte(function[slash:], '.')
	if dot < 0 {
		return function
	}
	return function[:slash+dot]
}
