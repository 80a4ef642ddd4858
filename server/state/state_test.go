package state

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestModes(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	path := filepath.Join(t.TempDir(), "a", "b")
	d := open(t, path)
	if err := d.Write("sub/key", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"": 0o700, "sub": 0o700, "sub/key": 0o600} {
		if got := mode(t, filepath.Join(path, name)); got != want {
			t.Errorf("%q has mode %#o, want %#o", name, got, want)
		}
	}
}

func TestFolderThatOthersMayEnter(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such modes")
	}
	path := t.TempDir()
	if err := os.Chmod(path, 0o755); err != nil {
		t.Fatal(err)
	}
	d := open(t, path)
	if got := mode(t, path); got != 0o700 {
		t.Errorf("an empty folder was left at mode %#o", got)
	}
	if err := d.Write("x", nil); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o750); err != nil {
		t.Fatal(err)
	}
	_, err := Open(path)
	if err == nil || !strings.Contains(err.Error(), "chmod 700 "+path) {
		t.Errorf("a folder in use that others may enter: %v, want an error that says what to run", err)
	}
	if got := mode(t, path); got != 0o750 {
		t.Errorf("the mode of a folder that may be somebody else's was changed to %#o", got)
	}
}

func TestWriteReplacesWhole(t *testing.T) {
	d := open(t, t.TempDir())
	for _, text := range []string{"a long first version", "short"} {
		if err := d.Write("f", []byte(text)); err != nil {
			t.Fatal(err)
		}
		if got, err := d.Read("f"); err != nil || string(got) != text {
			t.Fatalf("read %q, %v; want %q", got, err, text)
		}
	}
	entries, err := os.ReadDir(d.Path())
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

func TestNamesCannotLeadOut(t *testing.T) {
	d := open(t, filepath.Join(t.TempDir(), "inner"))
	if err := d.Write("../outside", nil); err == nil {
		t.Error("a file was written outside the folder")
	}
	if _, err := d.Read("missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reading what is not there: %v", err)
	}
}

// Two servers that start at once on one folder must end with the same keys.
func TestCreateOnce(t *testing.T) {
	path := t.TempDir()
	keys := make([][]byte, 8)
	var all sync.WaitGroup
	for i := range keys {
		d := open(t, path)
		all.Go(func() {
			key, err := d.Secret("token.key", 32)
			if err != nil {
				t.Error(err)
			}
			keys[i] = key
		})
	}
	all.Wait()
	for _, key := range keys[1:] {
		if len(key) != 32 || !bytes.Equal(key, keys[0]) {
			t.Fatalf("keys differ: %x, %x", keys[0], key)
		}
	}
}

func TestSecretOfTheWrongSize(t *testing.T) {
	d := open(t, t.TempDir())
	if err := d.Write("token.key", []byte("cut")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Secret("token.key", 32); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("got %v, want an error that says what to do", err)
	}
}
