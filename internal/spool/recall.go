package spool

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"path"

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

// Recalled is what the relay that used a cache last knew of its outbox.
type Recalled struct {
	System     int64  // system identifier of the database server
	Generation string // uuid of the newest generation
	Epoch      relay.Epoch
	Claimed    relay.ID // the highest
}

// Recall reads what a folder remembers, also while another process uses it. A folder that is not there, or not whole, remembers nothing.
func Recall(fsys vfs.FS, dir string) (r Recalled, err error) {
	id, err := readIdentity(fsys, path.Join(dir, queueDir))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errIdentity) {
		return r, nil
	}
	return Recalled{System: id.system, Generation: id.outbox.String(), Epoch: id.epoch, Claimed: id.claimed}, err
}

// String is the form in which the database writes it.
func (u uuid) String() string {
	x := hex.EncodeToString(u[:])
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}
