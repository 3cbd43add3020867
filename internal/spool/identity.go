package spool

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"path"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/vfs"
	"github.com/waybillmq/waybill/relay"
)

// identity says whose a cache is, and what its relay knew last.
//
//	 0 magic "WBCI" | 4 version u32 = 1
//	 8 uuid of the newest generation, 16 bytes
//	24 log, 16 bytes: random, new with each new folder
//	40 system identifier of the database i64
//	48 highest epoch i64 | 56 highest claimed id i64
//	64 crc u32 of all before
type identity struct {
	outbox  uuid
	log     uuid
	system  int64
	epoch   relay.Epoch
	claimed relay.ID
}

const (
	identityFile = "identity"
	identitySize = 68
	version      = 1 // of the folder; the one before, once there is one, is read too
)

var errIdentity = errors.New("its file \"identity\" is damaged")

func newLogID() (u uuid) {
	_, _ = rand.Read(u[:]) // never fails
	return u
}

func (i *identity) encode() []byte {
	b := le.AppendUint32([]byte("WBCI"), version)
	b = append(append(b, i.outbox[:]...), i.log[:]...)
	for _, n := range []int64{i.system, int64(i.epoch), int64(i.claimed)} {
		b = le.AppendUint64(b, uint64(n))
	}
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeIdentity(b []byte) (i identity, err error) {
	if len(b) < 8 || string(b[:4]) != "WBCI" || le.Uint32(b[4:]) == 0 {
		return i, errIdentity
	}
	if v := le.Uint32(b[4:]); v > version {
		return i, fmt.Errorf("format %d: %w; use that version, or give up the folder: waybill cache drop", v, commitlog.ErrVersion)
	}
	if len(b) != identitySize || le.Uint32(b[64:]) != crc32.Checksum(b[:64], castagnoli) {
		return i, errIdentity
	}
	in := reader{b: b[8:64]}
	return identity{outbox: in.uuid(), log: in.uuid(), system: in.i64(), epoch: relay.Epoch(in.i64()), claimed: relay.ID(in.i64())}, nil
}

// readIdentity is [fs.ErrNotExist] when there is none.
func readIdentity(fsys vfs.FS, queue string) (i identity, err error) {
	f, err := fsys.Open(path.Join(queue, identityFile))
	if err != nil {
		return i, err
	}
	size, err := f.Size()
	b := make([]byte, min(size, 4096))
	if err == nil {
		_, err = f.ReadAt(b, 0)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return i, err
	}
	return decodeIdentity(b)
}

// write makes the identity durable: a crash leaves the old one or the new one.
func (i *identity) write(fsys vfs.FS, queue string) error {
	return vfs.WriteFile(fsys, path.Join(queue, identityFile), i.encode())
}

// logConfig is the log of a cache with this identity: the database's system identifier stands in the header of every segment.
func (i *identity) logConfig(fsys vfs.FS, folder string, segment int64) commitlog.Config {
	c := commitlog.Config{FS: fsys, Dir: folder, SegmentBytes: segment, Spares: 1, Node: commitlog.UUID(i.log)}
	le.PutUint64(c.Cluster[:], uint64(i.system))
	return c
}
