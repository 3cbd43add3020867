package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
)

func newCache(p *program) *cobra.Command {
	c := &cobra.Command{Use: "cache", Short: "Look into the folder of a degraded cache that no relay uses", GroupID: groupSee, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return usage("cache needs a verb: status, verify or drop") }}
	c.AddCommand(newCacheStatus(p), newCacheVerify(p), newCacheDrop(p))
	return c
}

func cacheFlag(c *cobra.Command) *string {
	dir := c.Flags().String("dir", "", "folder of the degraded cache (required)")
	cobra.CheckErr(c.MarkFlagRequired("dir"))
	return dir
}

// cacheExit gives an error of the cache its exit code.
func cacheExit(err error) error {
	switch {
	case errors.Is(err, app.ErrNoCache):
		return &exitError{exitNotFound, err}
	case errors.Is(err, app.ErrCacheInUse), errors.Is(err, app.ErrAcksWait):
		return &exitError{exitRefused, err}
	}
	return err
}

func newCacheStatus(p *program) *cobra.Command {
	c := &cobra.Command{Use: "status --dir DIR", Short: "How many messages and acks it holds, by destination", Args: cobra.NoArgs,
		Long: "Prints what the cache holds of each destination. Everything in it is pending in the database too, or was sent since: the next relay asks and sends what still is.\nNothing " +
			"is changed. Exit code 6 when something is damaged."}
	dir := cacheFlag(c)
	c.RunE = p.doWithin(brokerTime, func(context.Context, []string) error {
		r, err := app.CacheInspect(*dir)
		if err != nil {
			return cacheExit(err)
		}
		return p.printCache(r, *dir)
	})
	return c
}

func newCacheVerify(p *program) *cobra.Command {
	c := &cobra.Command{Use: "verify --dir DIR", Short: "Read every byte and say what is damaged", Args: cobra.NoArgs,
		Long: "Reads every frame, checks its sum, and names what cannot be read any more. Nothing is changed, and nothing needs a repair: the next relay keeps the acks\nthat can be read " +
			"and takes the messages from the table. Exit code 6 when something is damaged."}
	dir := cacheFlag(c)
	c.RunE = p.doWithin(brokerTime, func(context.Context, []string) error {
		r, err := app.CacheVerify(*dir)
		if err != nil {
			return cacheExit(err)
		}
		end := "closed in order"
		switch {
		case len(r.Damage) > 0:
			end = "and what is damaged"
		case r.Torn:
			end = "not closed in order; its last write was not finished, and nobody was told that it was"
		case !r.Clean:
			end = "not closed in order; nothing was being written"
		}
		p.note("%d frames, %d records; %s", r.Frames, r.Records, end)
		return p.printCache(r, *dir)
	})
	return c
}

// printCache prints a report, and fails when it names damage.
func (p *program) printCache(r app.CacheReport, dir string) error {
	p.note("%d messages and %d acks in %d segments of %d bytes together; of database server %d, epoch %d, ids up to %d claimed", r.Messages, r.Acks, r.Segments, r.DiskBytes,
		r.System, r.Epoch, r.Claimed)
	if len(r.Aside) > 0 {
		p.note("set aside, of other outboxes: %s", strings.Join(r.Aside, ", "))
	}
	if len(r.Damaged) > 0 {
		p.note("damaged and replaced by an earlier start: %s", strings.Join(r.Damaged, ", "))
	}
	for _, d := range r.Damage {
		p.note("✗ %s", d)
	}
	t := table{kind: "CacheDestinationList", columns: []string{"destination", "messages", "bytes", "acks", "oldest"}}
	for _, d := range r.Destinations {
		oldest := "-"
		if d.Oldest != 0 {
			oldest = strconv.FormatInt(d.Oldest, 10)
		}
		t.rows = append(t.rows, []string{d.Destination, strconv.Itoa(d.Messages), strconv.FormatInt(d.Bytes, 10), strconv.Itoa(d.Acks), oldest})
		t.items, t.ids = append(t.items, d), append(t.ids, d.Destination)
	}
	if err := p.printTable(t); err != nil {
		return err
	}
	if len(r.Damage) == 0 {
		return nil
	}
	return &exitError{exitUnhealthy, fmt.Errorf("damaged: the table above ends there. No message is lost: the next relay keeps the acks that can be read, sends the messages from the "+
		"table, and puts what is here into %s/damaged-…", dir)}
}

const cacheDropHelp = `Deletes the cache, with what was set aside and what is damaged. No message is lost: every message in a cache is pending in the database too, until a broker
has confirmed it and the database knows. The next relay sends from the table.

Acks are different: one that waits here says that a broker has the message and the database does not know. Without it the message is sent a second time, with the
same message id. So a cache with acks is only dropped with --accept-duplicates; starting the relay settles them instead.`

func newCacheDrop(p *program) *cobra.Command {
	var yes, accept bool
	c := &cobra.Command{Use: "drop --dir DIR", Short: "Delete it; no message is lost", Long: cacheDropHelp, Args: cobra.NoArgs}
	dir := cacheFlag(c)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&accept, "accept-duplicates", false, "also when acks wait in it, whose messages are then sent a second time")
	c.RunE = p.doWithin(brokerTime, func(context.Context, []string) error {
		r, err := app.CacheInspect(*dir)
		if err != nil && (errors.Is(err, app.ErrNoCache) || errors.Is(err, app.ErrCacheInUse)) {
			return cacheExit(err)
		}
		err = p.confirm(yes, false, func(w io.Writer) {
			if err != nil {
				fmt.Fprintf(w, "it cannot be read: %v\n", err)
			}
			fmt.Fprintf(w, "delete the cache in %s: %d messages, %d acks, %d folders set aside. No message is lost: each is pending in the database and is sent from the table\n",
				*dir, r.Messages, r.Acks, len(r.Aside))
		})
		if err != nil {
			return err
		}
		r, err = app.CacheDrop(*dir, accept)
		if errors.Is(err, app.ErrAcksWait) {
			return &exitError{exitRefused, fmt.Errorf("nothing was dropped: %w. Start the relay that it is of, which settles them, or add --accept-duplicates", err)}
		}
		if err != nil {
			return cacheExit(err)
		}
		p.note("dropped: %d messages that could be read, which are pending in the database and are sent from the table, and %d acks", r.Messages, r.Acks)
		return nil
	})
	return c
}
