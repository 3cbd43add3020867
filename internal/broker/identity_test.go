package broker

import (
	"strings"
	"testing"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

func TestIdentity(t *testing.T) {
	fsys := vfs.NewMemory()
	must(t, fsys.MakeDir("node"))
	first, err := openIdentity(fsys, "node", newUUID())
	must(t, err)
	again, err := openIdentity(fsys, "node", newUUID())
	if err != nil || again != first || first.raftID() == 0 {
		t.Errorf("%v, then %v, %v", first, again, err)
	}
	b := first.encode()
	for i := range b {
		b[i] ^= 1
		if _, err := decodeIdentity(b); err == nil {
			t.Errorf("byte %d is wrong and nobody sees it", i)
		}
		b[i] ^= 1
	}
	must(t, fsys.Remove("node/identity"))
	must(t, fsys.MakeDir("node/log"))
	f, err := fsys.Create("node/log/00000001.seg")
	must(t, err)
	must(t, f.Close())
	if _, err := openIdentity(fsys, "node", newUUID()); err == nil || !strings.Contains(err.Error(), "identity") {
		t.Errorf("a log without an identity: %v", err)
	}
}
