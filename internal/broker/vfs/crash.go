package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Damage says what of the unsynced a crash keeps. Each share lies between 0, nothing, and 1, all; every sector and every name is decided by itself, so writes
// are torn and come out of order. What was synced always stays, but for Flips.
type Damage struct {
	Writes float64 // share of the unsynced sectors that reached the disk
	Names  float64 // share of the unsynced creations, renames and removals that did
	Grows  float64 // share of the unsynced growth of a file that its length shows; the bytes may be zero all the same
	Flips  int     // bits to turn in files, wherever they lie: no crash does it, a bad drive does
}

// Crash returns what a machine finds after a power cut at this moment: a file system of its own, everything in it synced, nothing open or locked. The same seed
// gives the same result; the receiver is left as it is.
func (m *Memory) Crash(d Damage, rng *rand.Rand) *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := crash{damage: d, rng: rng, moves: map[*move]bool{}, inodes: map[*inode]*inode{}}
	after := &Memory{root: c.folder(m.root), locks: map[string]bool{}, free: m.free}
	c.flip()
	return after
}

// crash is one crash in the making.
type crash struct {
	damage Damage
	rng    *rand.Rand
	moves  map[*move]bool    // whether a rename survives, decided once
	inodes map[*inode]*inode // before → after
	order  []*inode          // of inodes, so that flips do not depend on map order
}

func (c *crash) keep(share float64) bool { return c.rng.Float64() < share }

func (c *crash) folder(f *folder) *folder {
	entries := maps.Clone(f.synced)
	for _, ch := range f.changes {
		switch {
		case !c.survives(ch):
		case ch.node == nil:
			delete(entries, ch.name)
		default:
			entries[ch.name] = ch.node
		}
	}
	after := newFolder()
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		switch n := entries[name].(type) {
		case *folder:
			after.entries[name] = c.folder(n)
		case *inode:
			after.entries[name] = c.inode(n)
		}
	}
	after.synced = maps.Clone(after.entries)
	return after
}

func (c *crash) survives(ch change) bool {
	if ch.move == nil {
		return c.keep(c.damage.Names)
	}
	kept, decided := c.moves[ch.move]
	if !decided {
		kept = ch.move.durable || c.keep(c.damage.Names)
		c.moves[ch.move] = kept
	}
	return kept
}

func (c *crash) inode(i *inode) *inode {
	if after := c.inodes[i]; after != nil {
		return after
	}
	size := len(i.synced)
	if grown := len(i.data) - size; grown > 0 && c.keep(c.damage.Grows) {
		size += c.rng.IntN(grown + 1)
	} else if grown < 0 && c.keep(c.damage.Grows) {
		size = len(i.data)
	}
	data := make([]byte, size)
	copy(data, i.synced)
	for _, s := range slices.Sorted(maps.Keys(i.dirty)) {
		if lo := int(s * sector); lo < size && lo < len(i.data) && c.keep(c.damage.Writes) {
			copy(data[lo:min(lo+sector, size)], i.data[lo:])
		}
	}
	after := &inode{data: data, synced: slices.Clone(data), dirty: map[int64]bool{}}
	c.inodes[i] = after
	c.order = append(c.order, after)
	return after
}

// flip turns bits, each in a file that holds bytes.
func (c *crash) flip() {
	files := slices.DeleteFunc(slices.Clone(c.order), func(i *inode) bool { return len(i.data) == 0 })
	for range c.damage.Flips {
		if len(files) == 0 {
			return
		}
		i := files[c.rng.IntN(len(files))]
		at, bit := c.rng.IntN(len(i.data)), byte(1)<<c.rng.IntN(8)
		i.data[at] ^= bit
		i.synced[at] ^= bit
	}
}
