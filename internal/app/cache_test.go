package app

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/internal/spool"
	"github.com/waybillmq/waybill/relay"
)

// While a relay holds a cache, nobody looks into it or drops it.
func TestCacheInUse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	s, _, err := spool.Open(spool.Config{FS: vfs.OS{}, Dir: dir, MaxBytes: 16 << 20}, spool.Owner{Generations: []relay.Generation{{From: 1, UUID: "3f2a8c1e-5b7d-4e9f-8a6c-1d2e3f4a5b6c"}}})
	if err != nil {
		t.Fatal(err)
	}
	calls := map[string]func() (CacheReport, error){
		"inspect": func() (CacheReport, error) { return CacheInspect(dir) },
		"verify":  func() (CacheReport, error) { return CacheVerify(dir) },
		"drop":    func() (CacheReport, error) { return CacheDrop(dir, true) },
	}
	for name, call := range calls {
		if _, err := call(); !errors.Is(err, ErrCacheInUse) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"inspect", "verify", "drop"} {
		if r, err := calls[name](); err != nil || r.Segments != 1 || len(r.Damage) != 0 {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if _, err := CacheInspect(dir); !errors.Is(err, ErrNoCache) {
		t.Errorf("after it was dropped: %v", err)
	}
}
