package spool

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

// A second process is kept out; so is a second opening by the same one. DC9
func TestTwoProcessesH9(t *testing.T) {
	cfg := Config{FS: vfs.OS{}, Dir: filepath.Join(t.TempDir(), "cache"), MaxBytes: 16 << 20, MinFree: 1}
	o := openSpool(t, cfg, owner)
	if _, _, err := Open(cfg, owner); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("the same process: %v", err)
	}
	exe, err := os.Executable()
	must(t, err)
	other := exec.Command(exe)
	other.Env = append(os.Environ(), "SPOOL_TEST_OPEN="+cfg.Dir)
	out, err := other.Output()
	if err != nil || !strings.Contains(string(out), vfs.ErrLocked.Error()) {
		t.Errorf("another process: %q, %v", out, err)
	}
	if _, err := Inspect(cfg.FS, cfg.Dir); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("inspect: %v", err)
	}
	if _, err := Remove(cfg.Dir, true); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("remove: %v", err)
	}
	o.mustPut(t, kafkaLane, batch(10, 1))
	must(t, o.stop())
	out, err = exec.Command("/bin/sh", "-c", "SPOOL_TEST_OPEN="+cfg.Dir+" "+exe).Output()
	if err != nil || string(out) != "<nil>" {
		t.Errorf("another process after the first: %q, %v", out, err)
	}
}

// Whoever removes the folder of a running cache gets no panic and loses no more than the cache. DC9
func TestFolderRemovedH9(t *testing.T) {
	for _, after := range []int{0, 3, 50} {
		cfg := Config{FS: vfs.OS{}, Dir: filepath.Join(t.TempDir(), "cache"), MaxBytes: 16 << 20, SegmentBytes: 64 << 10, MinFree: 1}
		o := openSpool(t, cfg, owner)
		for i := range after {
			o.mustPut(t, kafkaLane, batch(3000, relay.ID(i+1)))
		}
		var wg sync.WaitGroup
		for lane := range 3 {
			wg.Go(func() {
				name := relay.CacheLane{Destination: "d", Lane: relay.Lane{Index: int32(lane)}}
				for i := 1; ; i++ {
					_, err := o.Put(lease, name, batch(2000, relay.ID(i)))
					_, errNext := o.Next(name, 5, 1<<20)
					errAck := o.Acked(lease, name, []relay.CachedAck{{ID: relay.ID(i)}})
					o.Forget(name, []relay.ID{relay.ID(i)})
					if errors.Is(err, relay.ErrCacheClosed) && errors.Is(errNext, relay.ErrCacheClosed) && errors.Is(errAck, relay.ErrCacheClosed) {
						return
					}
				}
			})
		}
		for err := os.RemoveAll(cfg.Dir); err != nil; err = os.RemoveAll(cfg.Dir) {
			if !errors.Is(err, syscall.ENOTEMPTY) { // the cache makes files in it until it notices
				t.Fatal(err)
			}
		}
		wg.Wait()
		if _, err := o.Put(lease, kafkaLane, batch(10, 900)); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "its folder was removed") {
			t.Errorf("put: %v", err)
		}
		if err := o.stop(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("run: %v", err)
		}
		if o = openSpool(t, cfg, owner); o.found.Messages+o.found.Acks != 0 {
			t.Errorf("%+v", o.found)
		}
		o.mustPut(t, kafkaLane, batch(10, 1))
		must(t, o.stop())
	}
}

// Nobody else may read what is in the cache, whatever the umask; names tell nothing; files that do not belong there do no harm. DC13
func TestPermissionsH13(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	cfg := Config{FS: vfs.OS{}, Dir: filepath.Join(t.TempDir(), "new", "cache"), MaxBytes: 16 << 20, SegmentBytes: 64 << 10, MinFree: 1}
	lane := relay.CacheLane{Destination: "../../evil\x00name", Lane: relay.Lane{Topic: "/etc/passwd"}}
	o := openSpool(t, cfg, owner)
	for i := range 50 {
		o.mustPut(t, lane, batch(3000, relay.ID(i+1)))
	}
	must(t, o.stop())
	for _, name := range []string{"queue/log/../../00000000.seg", "queue/log/junk", "queue/log/-1.seg", "queue/log/99999999999999999999.seg", "queue/spare/..x", "queue/identity.new", "aside-"} {
		must(t, os.WriteFile(filepath.Join(cfg.Dir, name), []byte("junk"), 0o600))
	}
	o = openSpool(t, cfg, owner)
	if got := o.drain(t, lane); len(got) != 50 {
		t.Errorf("%d messages", len(got))
	}
	must(t, o.stop())
	seen := 0
	must(t, filepath.WalkDir(filepath.Dir(cfg.Dir), func(name string, e fs.DirEntry, err error) error {
		must(t, err)
		info, err := e.Info()
		must(t, err)
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o", name, info.Mode().Perm())
		}
		if strings.Contains(name, "evil") {
			t.Errorf("a destination names a file: %s", name)
		}
		seen++
		return nil
	}))
	if seen < 10 {
		t.Errorf("only %d files were seen", seen)
	}
}
