package testservices

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Backup copies the data folder of a server that was stopped or killed, as a snapshot of its disk does.
func (s *PGServer) Backup() error { return s.copyData("data", "backup") }

// Restore puts the newest Backup in the place of the data folder of a server that was stopped or killed. Server and timeline stay the same.
func (s *PGServer) Restore() error { return s.copyData("backup", "data") }

func (s *PGServer) copyData(from, to string) error {
	to = filepath.Join(s.dir, to)
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if out, err := exec.Command("cp", "-a", filepath.Join(s.dir, from), to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy the data folder: %w: %s", err, lastLines(out, 3))
	}
	if err := os.Remove(filepath.Join(to, "postmaster.pid")); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// DataFile is the path of a file of the data folder, as pg_relation_filepath names it.
func (s *PGServer) DataFile(name string) string { return filepath.Join(s.dir, "data", name) }
