package kafka

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/waybillmq/waybill/relay"
)

// TestFindingsConcernWhatIsUsed: of all topics of a cluster, the ones that something was presented for; before Open and for a doctor Check tells of all.
func TestFindingsConcernWhatIsUsed(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "ours", "of.others", "named"))
	p := newPublisher(t, c.ListenAddrs(), nil)
	concern := func(p *Publisher) (subjects []string) {
		for _, f := range check(t, p).Items {
			if p.Concerns(f) && !slices.Contains(subjects, f.Subject) {
				subjects = append(subjects, f.Subject)
			}
		}
		return subjects
	}
	for _, topic := range []string{"ours", "of.others"} {
		wantLevel(t, check(t, p), "kafka.replication_factor", topic, relay.LevelFail)
	}
	general := []string{c.ListenAddrs()[0], "cluster"}
	if got := concern(p); !slices.Equal(got, general) {
		t.Errorf("before Open: %q", got)
	}
	opened(t, p)
	want(t, publish(t, p, ids("ours", "k", 1)), "acked 1")
	if got := concern(p); !slices.Equal(got, append(general, "ours")) {
		t.Errorf("after a batch for one topic: %q", got)
	}
	named := open(t, c.ListenAddrs(), func(cfg *Config) { cfg.Topics = []string{"named"} })
	if got := concern(named); !slices.Equal(got, append(general, "named")) {
		t.Errorf("a topic that routes name: %q", got)
	}
}

// TestUnknownTopic (E16): unavailable, after a minute config; when the topic appears the owner of the publisher is told, and a new one delivers.
func TestUnknownTopic(t *testing.T) {
	c := fake(t, kfake.SeedTopics(1, "other"))
	var told hook
	p := newPublisher(t, c.ListenAddrs(), func(cfg *Config) { cfg.OnLanesChanged = told.told })
	p.missingAfter = 300 * time.Millisecond
	opened(t, p)
	batch := ids("new", "k", 1, 2)
	if lane := p.Lane(batch[0]); lane.Index >= 0 {
		t.Fatalf("lane %v", lane)
	}
	out := publish(t, p, batch)
	if want(t, out, "unavailable 2"); out[0].Scope != relay.ScopeTopic {
		t.Errorf("%+v", out[0])
	}
	eventually(t, "config", func() bool { out = publish(t, p, batch); return out[0].Kind == relay.Config })
	if out[0].Scope != relay.ScopeTopic || out[0].Class != relay.ClassUnknownTopic {
		t.Errorf("%+v", out[0])
	}
	want(t, publish(t, p, ids("other", "k", 9)), "acked 1")
	if err := c.CreateTopic("new", 3, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "told", func() bool {
		if out = publish(t, p, batch); out[0].Kind == relay.Acked {
			t.Fatal("acked in a provisional lane")
		}
		return len(told.list()) > 0
	})
	if lane := p.Lane(batch[0]); lane.Index >= 0 {
		t.Error("a lane changed while the publisher lives")
	}
	if list := told.list(); !slices.Equal(list, []string{"new"}) {
		t.Errorf("told of %v", list)
	}
	next := open(t, c.ListenAddrs(), nil)
	want(t, publish(t, next, batch), "acked 2")
}

func TestIllegalTopicName(t *testing.T) {
	c := fake(t)
	p := open(t, c.ListenAddrs(), nil)
	out := publish(t, p, ids("not a topic", "k", 1))
	if want(t, out, "config 1"); out[0].Scope != relay.ScopeTopic {
		t.Errorf("%+v", out[0])
	}
}

// TestPartitionsRaised: the lanes stay as they are; the change is told once.
func TestPartitionsRaised(t *testing.T) {
	c := fake(t, kfake.SeedTopics(2, "t"))
	var told hook
	p := newPublisher(t, c.ListenAddrs(), func(cfg *Config) { cfg.OnLanesChanged = told.told })
	p.watchEvery = 20 * time.Millisecond
	if err := p.Open(within(t, patience), 1); err != nil {
		t.Fatal(err)
	}
	before := map[string]relay.Lane{}
	for i := range 100 {
		key := fmt.Sprint("k", i)
		before[key] = p.Lane(ids("t", key, 1)[0])
	}
	raisePartitions(t, c.ListenAddrs(), "t", 5)
	eventually(t, "told", func() bool { return len(told.list()) > 0 })
	for key, lane := range before {
		if got := p.Lane(ids("t", key, 1)[0]); got != lane {
			t.Fatalf("key %s moved from %v to %v", key, lane, got)
		}
	}
	turn := p.compass.now.Load().turn
	eventually(t, "more looks", func() bool { return p.compass.now.Load().turn > turn+3 })
	if list := told.list(); !slices.Equal(list, []string{"t"}) {
		t.Errorf("told of %v", list)
	}
}
