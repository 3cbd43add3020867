//go:build disks

package testservices_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/waybillmq/waybill/internal/testservices"
)

// TestSmallDisk: it fills up, has room again, and is nobody else's.
func TestSmallDisk(t *testing.T) {
	d, other := testservices.SmallDisk(t, 4<<20), testservices.SmallDisk(t, 1<<20)
	if err := d.Fill(0); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(d.Dir, "more")
	if err := os.WriteFile(name, make([]byte, 64<<10), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("written to a full disk: %v", err)
	}
	if err := os.WriteFile(filepath.Join(other.Dir, "more"), make([]byte, 64<<10), 0o600); err != nil {
		t.Error(err)
	}
	if err := d.Free(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, make([]byte, 64<<10), 0o600); err != nil {
		t.Error(err)
	}
}
