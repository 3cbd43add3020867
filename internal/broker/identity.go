package broker

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path"

	"github.com/waybillmq/waybill/internal/broker/commitlog"
	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// identity says who a node is. It is written once, before its log.
//
//	0 magic "WBID" | 4 version u32 = 1 | 8 incarnation, 16 bytes | 24 cluster, 16 bytes | 40 crc u32 of all before
type identity struct{ node, cluster commitlog.UUID }

const (
	identityFile = "identity"
	identitySize = 44
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// raftID is the node's id in raft: that of its incarnation, so that an empty disk is a new voter and never an old one that forgot.
func (i identity) raftID() uint64 {
	sum := sha256.Sum256(i.node[:])
	return binary.BigEndian.Uint64(sum[:])>>1 | 1 // not 0, and not one that raft uses for itself
}

func (i identity) clusterText() string {
	c := i.cluster
	return fmt.Sprintf("%x-%x-%x-%x-%x", c[0:4], c[4:6], c[6:8], c[8:10], c[10:])
}

func newUUID() (id commitlog.UUID) {
	_, _ = rand.Read(id[:])
	return id
}

// openIdentity reads the identity of a folder, or makes one of a cluster for an empty folder.
func openIdentity(fsys vfs.FS, dir string, cluster commitlog.UUID) (identity, error) {
	i, err := readIdentity(fsys, dir)
	if !errors.Is(err, fs.ErrNotExist) {
		return i, err
	}
	if names, err := fsys.List(path.Join(dir, "log")); err == nil && len(names) > 0 {
		return identity{}, fmt.Errorf("%s holds a log and no file %q: it was removed, or this is no folder of a broker; put it back from a copy of the folder", dir, identityFile)
	}
	i = identity{node: newUUID(), cluster: cluster}
	return i, i.write(fsys, dir)
}

// readIdentity is [fs.ErrNotExist] when there is none.
func readIdentity(fsys vfs.FS, dir string) (identity, error) {
	f, err := fsys.Open(path.Join(dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return identity{}, fmt.Errorf("%s is no folder of a broker, it has no file %q: %w", dir, identityFile, fs.ErrNotExist)
	}
	if err != nil {
		return identity{}, fmt.Errorf("read the identity of the node in %s: %w", dir, err)
	}
	b := make([]byte, identitySize)
	_, err = f.ReadAt(b, 0)
	if err = errors.Join(err, f.Close()); err != nil {
		return identity{}, fmt.Errorf("read the identity of the node in %s: %w", dir, err)
	}
	return decodeIdentity(b)
}

var errIdentity = errors.New("the file \"identity\" of the node is damaged; put it back from a copy of the folder")

func decodeIdentity(b []byte) (i identity, err error) {
	if len(b) < identitySize || string(b[:4]) != "WBID" || le.Uint32(b[40:]) != crc32.Checksum(b[:40], castagnoli) {
		return i, errIdentity
	}
	if v := le.Uint32(b[4:]); v != 1 {
		return i, fmt.Errorf("the file \"identity\" has format %d: %w", v, commitlog.ErrVersion)
	}
	copy(i.node[:], b[8:])
	copy(i.cluster[:], b[24:])
	return i, nil
}

func (i identity) encode() []byte {
	b := append([]byte("WBID"), 1, 0, 0, 0)
	b = append(append(b, i.node[:]...), i.cluster[:]...)
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// write makes the identity durable: a crash leaves all of it or none.
func (i identity) write(fsys vfs.FS, dir string) error {
	return vfs.WriteFile(fsys, path.Join(dir, identityFile), i.encode())
}
