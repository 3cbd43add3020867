package commitlog

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// flip turns a bit of a file.
func flip(t *testing.T, fsys vfs.FS, name string, at int64) {
	t.Helper()
	f, err := fsys.Open(name)
	must(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	must(t, err)
	b[0] ^= 1
	_, err = f.WriteAt(b, at)
	must(t, errors.Join(err, f.Datasync(), f.Close()))
}

func TestTornTailIsCutAndKept(t *testing.T) {
	m := vfs.NewMemory()
	cfg := testConfig
	cfg.FS = m
	l := openLog(t, cfg)
	_, err := l.Append(text("acknowledged"))
	must(t, err)
	must(t, l.stop())
	name := path.Join(logDir, segmentName(1))
	flip(t, m, name, l.w.at-align+30) // in the header of the last frame; nothing stands behind it
	l = openLog(t, cfg)
	if l.found.Torn != align || len(l.bodies) != 1 {
		t.Errorf("%+v, %d records", l.found, len(l.bodies))
	}
	names, err := m.List(quarantineDir)
	must(t, err)
	if len(names) != 1 {
		t.Errorf("in quarantine: %v", names)
	}
	must(t, l.stop())
	l = openLog(t, cfg)
	if l.found.Torn != 0 || len(l.bodies) != 1 {
		t.Errorf("the second time: %+v", l.found)
	}
}

func TestMissingSegment(t *testing.T) {
	cfg := memoryConfig()
	for range 3 {
		l := openLog(t, cfg)
		_, err := l.Append(text("x"))
		must(t, err)
		must(t, l.stop())
	}
	must(t, cfg.FS.Remove(path.Join(logDir, segmentName(2))))
	_, _, err := Open(cfg, nil)
	if damage := (*DamageError)(nil); !errors.As(err, &damage) || !strings.Contains(err.Error(), "00000002.seg") {
		t.Errorf("open without segment 2: %v", err)
	}
	if _, err := cfg.FS.Open(path.Join(logDir, segmentName(4))); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a refused log was changed")
	}
}

// A process is killed between the write of a frame and its sync, the next one finds the frame in the page cache, and then the power fails.
func TestPowerCutAfterAKill(t *testing.T) {
	m := vfs.NewMemory()
	cfg := testConfig
	cfg.FS = m
	killed, _, err := Open(cfg, nil)
	must(t, err)
	b := appendRecord(make([]byte, frameHeaderSize), text("written, not synced"))
	fh := frameHeader{Nonce: killed.w.h.Nonce, Seq: killed.w.seq + 1, Synced: killed.w.seq, Count: 1}
	_, err = killed.w.file.WriteAt(fh.seal(b, killed.w.crc), killed.w.at)
	must(t, errors.Join(err, killed.w.file.Close(), killed.lock.Close()))

	second := openLog(t, cfg)
	must(t, second.stop())
	cfg.FS = m.Crash(vfs.Damage{}, newRand(1))
	third := openLog(t, cfg)
	if len(second.bodies) != 1 || len(third.bodies) != 1 {
		t.Errorf("%d records found after the kill, %d after the power cut", len(second.bodies), len(third.bodies))
	}
}
