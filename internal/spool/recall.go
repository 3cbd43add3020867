package spool

import (
	"encoding/hex"
	"errors"
	"io/fs"
	"path"

	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

// Recall reads what the relay that used a folder last knew of its outbox, also while another process uses it. A folder that is not there, or not whole, remembers nothing.
func Recall(fsys vfs.FS, dir string) (relay.Known, error) {
	id, err := readIdentity(fsys, path.Join(dir, queueDir))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errIdentity) {
		return relay.Known{}, nil
	}
	return relay.Known{System: id.system, Outbox: id.outbox.String(), Epoch: id.epoch, Claimed: id.claimed}, err
}

// String is the form in which the database writes it.
func (u uuid) String() string {
	x := hex.EncodeToString(u[:])
	return x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:]
}
