package app

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/waybillmq/waybill/internal/config"
)

// shopSays is how often the sample order service says what it did.
const shopSays = 10 * time.Second

// Shop runs the sample order service of the demonstration alone, beside a relay of its own, until ctx ends. A database that is not there yet, or away for a
// while, is waited for; orders that fail are counted and told.
func Shop(ctx context.Context, c *config.Config, rate int, progress io.Writer) error {
	url, err := MigrationURL(c)
	if err != nil {
		return err
	}
	var s *shop
	for said := ""; s == nil; {
		if s, err = openShop(ctx, url, rate); err != nil {
			if text := err.Error(); text != said && ctx.Err() == nil {
				fmt.Fprintf(progress, "the database cannot be used yet; it is tried again: %s\n", text)
				said = text
			}
			if !pause(ctx, time.Second) {
				return nil
			}
		}
	}
	defer s.close()
	fmt.Fprintf(progress, "%d orders/s, each one transaction (order row + message), one in ten rolls back\n", rate)
	done := make(chan error, 1)
	go func() { done <- s.run(ctx) }()
	tick := time.NewTicker(shopSays)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			s.say(progress)
			return err
		case <-tick.C:
			s.say(progress)
		}
	}
}

func (s *shop) say(to io.Writer) {
	line := fmt.Sprintf("ordered %d, rolled back %d, failed %d", s.committed.Load(), s.rolledBack.Load(), s.failed.Load())
	if why := s.why.Swap(nil); why != nil {
		line += ": " + *why
	}
	fmt.Fprintln(to, line)
}
