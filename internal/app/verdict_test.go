package app

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/adapters/kafka"
	"github.com/waybillmq/waybill/internal/audit"
)

// verdict stops the relays and compares what was written, marked sent and stored. duplicates is how many are allowed; gone, if given, says of which ids
// the broker's copy went with its topic.
func (r *rig) verdict(duplicates int, gone ...func(id int64) bool) audit.Result {
	r.t.Helper()
	produced, sent := r.written()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if len(gone) > 0 {
		kept := produced[:0]
		for _, p := range produced {
			if !gone[0](p.ID) {
				kept = append(kept, p)
			}
		}
		produced = kept
	}
	var stored []audit.Stored
	for topic := range r.topics {
		stored = append(stored, r.stored(ctx, topic)...)
	}
	stored = slices.DeleteFunc(stored, func(s audit.Stored) bool { return r.takenBack[s.MessageID] })
	res := audit.Compare(produced, sent, stored)
	if !res.Clean() || res.Duplicates > duplicates || res.Stored < res.Sent {
		r.t.Errorf("verdict: %d duplicates allowed: %+v\n%s", duplicates, res, r.picture())
	}
	r.t.Logf("written %d, sent %d, stored %d, waiting %d, discarded %d, duplicates %d", res.Written, res.Sent, res.Stored, res.Pending, res.Discarded, res.Duplicates)
	return res
}

// written stops the relays and returns what was written, and what is marked sent.
func (r *rig) written() (produced []audit.Produced, sent map[int64]audit.Place) {
	r.t.Helper()
	r.stopAll()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, r.url)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close(ctx)
	if produced, err = readProduced(ctx, conn); err != nil {
		r.t.Fatal(err)
	}
	if sent, err = readSent(ctx, conn); err != nil {
		r.t.Fatal(err)
	}
	return produced, sent
}

// verdictAt compares the messages of one topic, as written returned them, with what its broker has.
func (r *rig) verdictAt(at demoBroker, topic string, duplicates int, produced []audit.Produced, sent map[int64]audit.Place) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stored, err := at.read(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	rows := slices.DeleteFunc(slices.Clone(produced), func(p audit.Produced) bool { return p.Topic != topic })
	got := audit.Compare(rows, sent, stored)
	r.t.Logf("%s: written %d, stored %d, duplicates %d", topic, got.Written, got.Stored, got.Duplicates)
	if !got.Clean() || got.Written != got.Stored || got.Duplicates > duplicates {
		r.t.Errorf("%s: at most %d duplicates are explained: %+v", topic, duplicates, got)
	}
}

func (r *rig) stored(ctx context.Context, topic string) (all []audit.Stored) {
	r.t.Helper()
	for _, rec := range r.records(ctx, topic) {
		all = append(all, storedRecord(topic, topic, &rec))
	}
	return all
}

func (r *rig) records(ctx context.Context, topic string) (all []kafka.Record) {
	r.t.Helper()
	if err := kafka.ReadAll(ctx, r.topics[topic].Brokers, topic, func(rec kafka.Record) error { all = append(all, rec); return nil }); err != nil {
		r.t.Fatal(err)
	}
	return all
}
