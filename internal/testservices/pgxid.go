package testservices

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/waybillmq/waybill/internal/embedded"
)

const xidsPerSegment = 32 * 32768 // of pg_xact: pages of a segment file, transactions of a page

// JumpTo restarts the server with next as its next transaction id, as if all those between had been used: with pg_resetwal, which is told an epoch above 2^32. A
// jump of 2^31 or more beyond the oldest id that is not frozen destroys the data: VACUUM (FREEZE) between smaller ones.
func (s *PGServer) JumpTo(next uint64) error {
	if err := s.Stop(); err != nil {
		return err
	}
	acct, err := embedded.RunAs()
	if err != nil {
		return err
	}
	data, xid := filepath.Join(s.dir, "data"), uint32(next)
	segment := filepath.Join(data, "pg_xact", fmt.Sprintf("%04X", xid/xidsPerSegment)) // pg_resetwal makes none
	if _, err := os.Stat(segment); err != nil {
		if err := os.WriteFile(segment, make([]byte, xidsPerSegment/4), 0o600); err != nil {
			return err
		}
		if err := acct.Give(segment); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.inst.Bin, "pg_resetwal"), "-D", data, "-x", fmt.Sprint(xid), "-e", fmt.Sprint(next>>32))
	acct.Apply(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pg_resetwal: %w: %s", err, lastLines(out, 3))
	}
	return s.Start()
}
