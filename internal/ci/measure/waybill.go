package measure

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
)

// Waybill is the file of a built waybill command.
type Waybill string

// build builds the command into dir. The working directory must be the module's root.
func build(ctx context.Context, dir string, stderr io.Writer) (Waybill, error) {
	file := filepath.Join(dir, "waybill")
	fmt.Fprintln(stderr, "building ./cmd/waybill")
	build := exec.CommandContext(ctx, "go", "build", "-o", file, "./cmd/waybill")
	build.Stderr = stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("building ./cmd/waybill, run this in the module's root: %w", err)
	}
	return Waybill(file), nil
}

// Emulator starts the emulator on a free port, with new keys.
func (w Waybill) Emulator(ctx context.Context, more ...string) (*Process, error) {
	return Start(ctx, false, FirstLine, string(w), append([]string{"emulator", "--quiet", "--listen", "127.0.0.1:0", "--keys", ""}, more...)...)
}
