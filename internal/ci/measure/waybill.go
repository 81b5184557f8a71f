package measure

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
)

// Waybill is the file of a built waybill command.
type Waybill string

// Build builds the command into dir. The working directory must be the module's root.
func Build(ctx context.Context, dir string, stderr io.Writer) (Waybill, error) {
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

// HasFlag tells whether the emulator takes the flag, named without hyphens.
func (w Waybill) HasFlag(ctx context.Context, name string) bool {
	help, _ := exec.CommandContext(ctx, string(w), "emulator", "--help").CombinedOutput() // its status does not matter
	return strings.Contains(string(help), "-"+name)
}
