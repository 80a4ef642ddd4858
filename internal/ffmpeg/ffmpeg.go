// Package ffmpeg runs Debian's ffmpeg for tests: it makes media that Parley did not make, and plays what Parley did.
package ffmpeg

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/parley-rtc/parley/internal/need"
)

// Need skips a test where ffmpeg is not installed; under CI it fails.
func Need(t testing.TB) {
	t.Helper()
	need.Program(t, "ffmpeg", "ffmpeg", "ffprobe")
}

// Run runs ffmpeg, which overwrites its files, and returns what it wrote to its standard output.
func Run(t testing.TB, args ...string) []byte {
	t.Helper()
	Need(t)
	return run(t, exec.CommandContext(t.Context(), "ffmpeg", append([]string{"-nostdin", "-hide_banner", "-loglevel", "error", "-y"}, args...)...))
}

// Probe returns what ffprobe says of a file: entries as "stream=codec_name,width", one line for each that there is.
func Probe(t testing.TB, file, entries string) string {
	t.Helper()
	Need(t)
	b := run(t, exec.CommandContext(t.Context(), "ffprobe", "-loglevel", "error", "-count_frames", "-show_entries", entries, "-of", "csv=print_section=0", file))
	return strings.TrimSpace(string(b))
}

func run(t testing.TB, cmd *exec.Cmd) []byte {
	t.Helper()
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil || stderr.Len() > 0 {
		t.Fatalf("%s: %v\n%s", cmd, err, stderr.String())
	}
	return []byte(stdout.String())
}
