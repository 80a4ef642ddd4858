// Package state keeps what a server must find again after a restart: keys, certificates, the passphrase.
//
// Everything lies in one folder that belongs to the server's user alone (mode 0700, files 0600). Files are replaced
// whole, by renaming, so that a crash leaves either the old or the new one; two servers may share a folder.
package state

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// Dir is an open state folder. Names of files are relative to it, may contain slashes, and cannot lead out of it.
// It is safe for concurrent use.
type Dir struct {
	root *os.Root
}

// Open opens the folder at path, and makes it where there is none. A folder that others may enter is taken only if it
// is empty, and then closed to them; otherwise the error says how to close it.
func Open(path string) (*Dir, error) {
	if path == "" {
		return nil, errors.New("state: no folder is named")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("state: the folder for keys cannot be made: %w", err)
	}
	if err := private(path); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return &Dir{root}, nil
}

// private sees to it that nobody else can enter the folder. Windows has no such modes: there a user's own folder is
// private by what it inherits.
func private(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if runtime.GOOS == "windows" || info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	if len(entries) > 0 || info.Mode()&fs.ModeSticky != 0 {
		return fmt.Errorf("state: the folder for keys, %s, is open to other users (mode %#o): if it holds nothing but Parley's state, run `chmod 700 %[1]s`, else name another folder",
			path, info.Mode().Perm())
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return fmt.Errorf("state: the folder for keys is open to other users: %w", err)
	}
	return nil
}

// Close lets go of the folder.
func (d *Dir) Close() error { return d.root.Close() }

// Path is where the folder is.
func (d *Dir) Path() string { return d.root.Name() }

// Read returns a file's content; the error is [fs.ErrNotExist] if there is no such file.
func (d *Dir) Read(name string) ([]byte, error) { return d.root.ReadFile(name) }

// Write replaces a file, or makes it.
func (d *Dir) Write(name string, data []byte) error {
	return d.put(name, data, d.root.Rename)
}

// Create makes a file and returns its content: data, or what was there already, perhaps made by another process at the
// same moment.
func (d *Dir) Create(name string, data []byte) ([]byte, error) {
	err := d.put(name, data, d.root.Link)
	if errors.Is(err, fs.ErrExist) {
		return d.Read(name)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// put writes data beside the file's place and then lets move bring it there.
func (d *Dir) put(name string, data []byte, move func(from, to string) error) (err error) {
	if dir := filepath.Dir(filepath.FromSlash(name)); dir != "." {
		if err := d.root.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	temporary := fmt.Sprintf("%s.%s.new", name, rand.Text()[:8])
	f, err := d.root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer d.root.Remove(temporary) // after a rename there is nothing to remove
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return move(temporary, name)
}

// Secret returns the size random bytes kept in a file, and makes them at first use.
func (d *Dir) Secret(name string, size int) ([]byte, error) {
	key, err := d.Read(name)
	if errors.Is(err, fs.ErrNotExist) {
		fresh := make([]byte, size)
		if _, err := io.ReadFull(rand.Reader, fresh); err != nil {
			return nil, err
		}
		key, err = d.Create(name, fresh)
	}
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if len(key) != size {
		return nil, fmt.Errorf("state: %s has %d bytes instead of %d: remove it, and a new one is made at the next start",
			filepath.Join(d.Path(), name), len(key), size)
	}
	return key, nil
}
