package commitlog

import (
	"crypto/rand"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/waybillmq/waybill/internal/broker/vfs"
)

// The folders of a log.
const (
	logDir        = "log"        // 00000012.seg: the segments
	spareDir      = "spare"      // files of a segment's length, ready to become one
	quarantineDir = "quarantine" // what recovery cut off and repair set aside
	lockFile      = "lock"
)

func segmentName(number uint64) string { return fmt.Sprintf("%08d.seg", number) }

// segmentNumber is the number in a name; false = not the name of a segment.
func segmentNumber(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, ".seg")
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil && segmentName(n) == name
}

// segments lists the numbers of the segments there are, ascending.
func segments(fsys vfs.FS, dir string) ([]uint64, error) {
	names, err := fsys.List(path.Join(dir, logDir))
	var numbers []uint64
	for _, name := range names {
		if n, ok := segmentNumber(name); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, err
}

func newNonce() uint64 {
	for {
		var raw [8]byte
		_, _ = rand.Read(raw[:]) // never fails
		if n := le.Uint64(raw[:]); n != 0 {
			return n
		}
	}
}
