package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
)

func newBroker(p *program) *cobra.Command {
	c := &cobra.Command{Use: "broker", Short: "Run a bundled broker alone, or look into its folder", GroupID: groupSee, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usage("broker needs a verb: run, cat, verify, dump or repair")
		}}
	c.AddCommand(newBrokerRun(p), newBrokerCat(p), newBrokerVerify(p), newBrokerDump(p), newBrokerRepair(p))
	return c
}

// brokerTime is how long a command may read a folder.
const brokerTime = time.Hour

func folderFlag(c *cobra.Command) *string {
	dir := c.Flags().String("dir", "", "folder of the broker; of a demonstration with --dir D it is D/broker (required)")
	cobra.CheckErr(c.MarkFlagRequired("dir"))
	return dir
}

func newBrokerCat(p *program) *cobra.Command {
	var o app.CatOptions
	c := &cobra.Command{Use: "cat TOPIC --dir DIR", Short: "The records of a topic", Args: cobra.ExactArgs(1),
		Long: "Prints the records of a topic, partition by partition in the order of their offsets. Nothing is changed. Payloads are shown only with --payload."}
	dir := folderFlag(c)
	f := c.Flags()
	f.IntVar(&o.Partition, "partition", -1, "this one only")
	f.Int64Var(&o.From, "from", 0, "from this offset on")
	f.BoolVar(&o.Payload, "payload", false, "with payloads")
	f.IntVar(&o.Limit, "limit", 1000, "most records")
	c.RunE = p.doWithin(brokerTime, func(ctx context.Context, args []string) error {
		if o.Limit < 1 {
			return usage("--limit is at least 1")
		}
		t := table{kind: "BrokerRecordList", columns: []string{"partition", "offset", "at", "key", "message id", "size"}}
		if o.Payload {
			t.columns = append(t.columns, "payload")
		}
		err := app.BrokerCat(ctx, *dir, args[0], o, func(r app.BrokerRecord) error {
			size := strconv.Itoa(r.Size)
			if r.Tombstone {
				size = "tombstone"
			}
			row := []string{strconv.Itoa(int(r.Partition)), strconv.FormatInt(r.Offset, 10), r.At.Format(time.RFC3339Nano), r.Key, r.MessageID, size}
			if o.Payload {
				row = append(row, string(r.Payload))
			}
			t.rows, t.items, t.ids = append(t.rows, row), append(t.items, r), append(t.ids, r.MessageID)
			return nil
		})
		var damaged *app.DamagedBrokerError
		var more *app.MoreRecordsError
		switch {
		case errors.As(err, &more):
			t.capped = true
			defer p.note("there is more: --partition %d --from %d, or a higher --limit", more.Partition, more.Offset)
			err = nil
		case err != nil && !errors.As(err, &damaged):
			return err
		}
		return errors.Join(p.printTable(t), err)
	})
	return c
}

func newBrokerVerify(p *program) *cobra.Command {
	c := &cobra.Command{Use: "verify --dir DIR", Short: "Read every byte and say what is damaged", Args: cobra.NoArgs,
		Long: "Reads every frame and every record batch, checks their sums, and names what cannot be read any more. Nothing is changed. Exit code 6 when something is\ndamaged."}
	dir := folderFlag(c)
	c.RunE = p.doWithin(brokerTime, func(context.Context, []string) error {
		r, err := app.BrokerVerify(*dir)
		if err != nil {
			return err
		}
		end := "closed in order"
		switch {
		case r.Torn:
			end = "not closed in order; its last frame was never finished nor acknowledged"
		case !r.Clean:
			end = "not closed in order; nothing was being written"
		}
		p.note("%d segments, %d frames, %d records, %d record batches; %s", r.Segments, r.Frames, r.Records, r.Batches, end)
		for _, d := range r.Damage {
			p.note("✗ %s", d)
		}
		if err := p.printTable(partitionTable(r.Topics)); err != nil {
			return err
		}
		if len(r.Damage) == 0 {
			return nil
		}
		return &exitError{exitUnhealthy, fmt.Errorf("damaged: every partition ends above at the last offset that is safe. Restore the folder from a copy, or give up what is lost: "+
			"waybill broker repair --accept-loss --dir %s", *dir)}
	})
	return c
}

func partitionTable(list []app.BrokerTopic) table {
	t := table{kind: "BrokerPartitionList", columns: []string{"topic", "partition", "start", "end"}}
	for _, x := range list {
		t.rows = append(t.rows, []string{x.Topic, strconv.Itoa(int(x.Partition)), strconv.FormatInt(x.Start, 10), strconv.FormatInt(x.End, 10)})
		t.items, t.ids = append(t.items, x), append(t.ids, x.Topic)
	}
	return t
}

func newBrokerDump(p *program) *cobra.Command {
	c := &cobra.Command{Use: "dump SEGMENT --dir DIR", Short: "What stands in a segment of the log, record by record", Args: cobra.ExactArgs(1),
		Long: "Prints every record of a segment with its place, up to the first frame that cannot be read. Keys and payloads are not shown, nothing is changed.\nSEGMENT is a number or a " +
			"name, as 12 or 00000012.seg.", Example: "  waybill broker dump 1 --dir shop/broker"}
	dir := folderFlag(c)
	c.RunE = p.doWithin(brokerTime, func(_ context.Context, args []string) error {
		segment, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(args[0]), ".seg"), 10, 64)
		if err != nil {
			return usage(fmt.Sprintf("SEGMENT is a number or a name, as 12 or 00000012.seg, not %q", args[0]))
		}
		t := table{kind: "BrokerFrameList", columns: []string{"byte", "frame", "kind", "group", "index", "term", "bytes", "what", "synced"}, wide: 1}
		end, err := app.BrokerDump(*dir, segment, func(f app.BrokerFrame) error {
			t.rows = append(t.rows, []string{strconv.FormatInt(f.At, 10), strconv.FormatUint(f.Frame, 10), f.Kind, strconv.Itoa(int(f.Group)), strconv.FormatUint(f.Index, 10),
				strconv.FormatUint(f.Term, 10), strconv.Itoa(f.Bytes), strings.Join(f.Detail, "; "), strconv.FormatUint(f.Synced, 10)})
			t.items, t.ids = append(t.items, f), append(t.ids, strconv.FormatInt(f.At, 10))
			return nil
		})
		var damaged *app.DamagedBrokerError
		if err != nil && !errors.As(err, &damaged) {
			return err
		}
		if end != "" {
			defer p.note("%s", end)
		}
		return errors.Join(p.printTable(t), err)
	})
	return c
}

const brokerRepairHelp = `Cuts the log at its first damage. What stood there and everything behind it was acknowledged and is given up; it lies in the folder "quarantine"
afterwards. The broker starts again then; new records take the offsets of the lost ones. Does nothing when nothing is damaged.`

func newBrokerRepair(p *program) *cobra.Command {
	var accept bool
	c := &cobra.Command{Use: "repair --accept-loss --dir DIR", Short: "Give up what is damaged, so that the broker starts again", Long: brokerRepairHelp, Args: cobra.NoArgs}
	dir := folderFlag(c)
	c.Flags().BoolVar(&accept, "accept-loss", false, "yes, acknowledged records are lost by it (required)")
	c.RunE = p.doWithin(brokerTime, func(context.Context, []string) error {
		if !accept {
			return &exitError{exitRefused, errors.New("repair gives up records that were acknowledged: look at waybill broker verify first, then add --accept-loss")}
		}
		r, err := app.BrokerRepair(*dir)
		if err != nil {
			return err
		}
		if r.Damage == "" {
			p.note("nothing is damaged, nothing was changed")
		} else {
			p.note("%s", r.Damage)
			p.note("cut %d bytes and %d segments; they lie in %s/quarantine. What is left:", r.Bytes, r.Segments, *dir)
		}
		return p.printTable(partitionTable(r.Topics))
	})
	return c
}
