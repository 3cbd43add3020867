package checker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
)

const (
	floodBytes = 48 << 10 // payload of each message: as much as is read with its row
	floodBatch = 20       // messages of a transaction
)

// flood writes large messages of two keys until enough says so, at most floodCount, and returns how many.
func (p *producer) flood(ctx context.Context, r *rand.Rand, enough func() bool) (written int, err error) {
	conn, err := connect(ctx, p.url)
	if err != nil {
		return 0, err
	}
	defer func() { closeConn(conn) }()
	keys := []string{"hot", p.key(r)}
	slices.Sort(keys)
	for written < floodCount && !enough() && ctx.Err() == nil {
		a := act{plan: "commit"}
		for i := range floodBatch {
			a.messages = append(a.messages, planned{token: fmt.Sprintf("%s-%d", p.run, p.tokens.Add(1)), key: keys[i*2/floodBatch], size: floodBytes})
		}
		if err := p.carryOut(conn, a, false); err != nil {
			return written, err
		}
		written += floodBatch
	}
	return written, ctx.Err()
}
