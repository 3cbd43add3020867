package postgres

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

func TestInspector(t *testing.T) {
	for _, major := range []int{15, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			d := newDesk(t, major)
			d.fill(t)
			t.Run("overview", d.testOverview)
			t.Run("held counts", d.testHeldCounts)
			t.Run("message", d.testMessage)
			t.Run("places", d.testPlaces)
			t.Run("find", d.testFind)
			t.Run("lists", d.testLists)
			t.Run("keys", d.testKeys)
			t.Run("failures", d.testFailures)
			t.Run("activity", d.testActivity)
		})
	}
}

// testPlaces: receipts belong to an id and its message id together.
func (d *desk) testPlaces(t *testing.T) {
	s, err := Open(t.Context(), Config{URL: d.url})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m, err := d.inspector.Message(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		id        relay.ID
		messageID string
		want      int
	}{{1, m.MessageID, 1}, {1, m.MessageID + "0", 0}, {2, m.MessageID, 0}, {7, "own-7", 0}, {99, "own-99", 0}} {
		places, err := s.Places(t.Context(), row.id, row.messageID)
		if err != nil || len(places) != row.want {
			t.Errorf("%d %s: %+v, %v", row.id, row.messageID, places, err)
		}
		for _, p := range places {
			if p != m.Places[0] {
				t.Errorf("%+v, want %+v", p, m.Places[0])
			}
		}
	}
}

func (d *desk) testOverview(t *testing.T) {
	o, err := d.inspector.Overview(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if o.Epoch != 7 || o.Owner != "relay-2" || !o.Alive || o.Released || o.LastID != 8 || o.FirstID != 1 || o.Claimed != 1 || o.LowWater != 1 || o.Pending != 1 || o.Closed != 1 || o.OldestAt.IsZero() {
		t.Errorf("%+v", o)
	}
	if o.Held[relay.Dead] != 1 || o.Held[relay.Blocked] != 2 || o.Held[relay.Retrying] != 1 || o.Held[relay.Scheduled] != 1 {
		t.Errorf("held %v", o.Held)
	}
	if len(o.Relays) != 2 || o.Relays[1].Destinations["kafka-a"].State != relay.DestinationOpen || o.Relays[1].Destinations["kafka-a"].Detail != "refused" {
		t.Errorf("relays %+v", o.Relays)
	}
}

func (d *desk) testHeldCounts(t *testing.T) {
	got, err := d.inspector.HeldByDestination(t.Context())
	if err != nil || got["kafka-a"][relay.Dead] != 1 || got["kafka-a"][relay.Blocked] != 2 || got["kafka-b"][relay.Retrying] != 1 || got[""][relay.Scheduled] != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

func (d *desk) testMessage(t *testing.T) {
	ctx := t.Context()
	get := func(id relay.ID) relay.MessageInfo {
		m, err := d.inspector.Message(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(fmt.Sprintf("%+v", m), "canary") {
			t.Errorf("message %d shows payload or header values", id)
		}
		return m
	}
	if m := get(1); m.State != relay.StateSent || len(m.Places) != 1 || m.Places[0].Offset != 41 || !m.Places[0].HasOffset || m.Places[0].Lane != "order.paid/3" || !m.Claimed || m.Size != 6 || !slices.Equal(m.HeaderNames, []string{"secret-header"}) {
		t.Errorf("sent: %+v", m)
	}
	if m := get(2); m.State != relay.StatePending || m.Detail != "" || m.Claimed {
		t.Errorf("pending: %+v", m)
	}
	if m := get(3); m.State != relay.StateDead || m.Behind != 2 || m.Code != "kafka/MESSAGE_TOO_LARGE" || len(m.Error) != 500 || m.FirstFailedAt.IsZero() {
		t.Errorf("dead: %+v", m)
	}
	if m := get(5); m.Detail != "blocked" || m.Head != 3 || m.HeadState != relay.Dead || m.Behind != 0 {
		t.Errorf("blocked: %+v", m)
	}
	if m := get(8); m.State != relay.StateDiscarded || m.DiscardedBy != "cli:ana@host" || m.Reason != "test order" || m.Class != "invalid" {
		t.Errorf("discarded: %+v", m)
	}
	if _, err := d.inspector.Message(ctx, 99); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("unknown id: %v", err)
	}
	a, err := d.inspector.Attempts(ctx, 3)
	if err != nil || len(a) != 1 || a[0].Took != 12*time.Millisecond || a[0].Instance != "relay-2" {
		t.Errorf("attempts %+v, %v", a, err)
	}
}

func (d *desk) testFind(t *testing.T) {
	var uuid string
	if err := d.conn.QueryRow(t.Context(), `SELECT outbox_id::text FROM outbox.generations`).Scan(&uuid); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]relay.ID{"3": 3, "own-7": 7, uuid + "-5": 5, uuid + "-7": 0, "99": 0, "own-8": 0, uuid + "-99999999999999999999": 0, "": 0} {
		got, err := d.inspector.Find(t.Context(), ref)
		if got != want || want == 0 && !errors.Is(err, relay.ErrNotFound) || want != 0 && err != nil {
			t.Errorf("%q: %d, %v, want %d", ref, got, err, want)
		}
	}
}

func (d *desk) testLists(t *testing.T) {
	for filter, want := range map[string][]relay.ID{
		"":                             {8, 7, 6, 5, 4, 3, 2, 1},
		"state:dead":                   {3},
		"state:pending":                {7, 6, 5, 4, 2},
		"state:sent":                   {1},
		"state:discarded":              {8},
		"state:blocked,retrying":       {6, 5, 4},
		"-state:pending,sent":          {8, 3},
		"state:pending -state:blocked": {7, 6, 2},
		"state:dead,sent":              {3, 1},
		"destination:kafka-b":          {6},
		"class:too_large":              {3},
		"topic:order.*":                {5, 4, 3, 2, 1},
		"topic:order_paid":             {},
		"-topic:order.*,x":             {8, 7, 6},
		"key:k topic:order.paid":       {5, 4, 3},
		"-key:k state:pending":         {7, 6, 2},
		"id:3,own-7,99":                {7, 3},
		"id:3 state:sent":              {},
		"-id:3 state:dead":             {},
		"age<1h":                       {8, 7, 6, 5, 4, 3, 2, 1},
		"age>1h":                       {},
		"since:1h state:dead":          {3},
		"until:2020-01-01":             {},
	} {
		f, err := relay.ParseFilter(filter)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.inspector.Messages(t.Context(), f, 0, 0)
		if err != nil {
			t.Errorf("%q: %v", filter, err)
			continue
		}
		ids := []relay.ID{}
		for _, m := range got.Items {
			ids = append(ids, m.ID)
			if len(m.Error) > errorPreview {
				t.Errorf("a list carries a whole error: %d bytes", len(m.Error))
			}
		}
		if !slices.Equal(ids, want) {
			t.Errorf("%q: %v, want %v", filter, ids, want)
		}
		var paged []relay.ID
		for before := relay.ID(0); ; {
			page, err := d.inspector.Messages(t.Context(), f, before, 2)
			if err != nil || len(page.Items) > 2 {
				t.Fatalf("%q: %d items, %v", filter, len(page.Items), err)
			}
			for _, m := range page.Items {
				paged = append(paged, m.ID)
			}
			if before = page.Next; before == 0 {
				break
			}
		}
		if !slices.Equal(paged, want) && len(want) > 0 {
			t.Errorf("%q by pages: %v, want %v", filter, paged, want)
		}
	}
}

func (d *desk) testKeys(t *testing.T) {
	list, err := d.inspector.Keys(t.Context(), relay.Key{}, 0)
	if err != nil || list.More || len(list.Items) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if k := list.Items[0]; k.Topic != "order.paid" || k.Key.Key != "k" || k.Head != 3 || k.State != relay.Dead || k.Behind != 2 || k.Class != "too_large" || len(k.Error) != errorPreview {
		t.Errorf("%+v", k)
	}
	if k, err := d.inspector.Key(t.Context(), relay.Key{Topic: "order.paid", Key: "k"}); err != nil || k.Head != 3 || len(k.Error) != 500 {
		t.Errorf("%+v, %v", k, err)
	}
	if _, err := d.inspector.Key(t.Context(), relay.Key{Topic: "order.paid", Key: "j"}); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("open key: %v", err)
	}
	if list, err := d.inspector.Keys(t.Context(), relay.Key{Topic: "order.paid", Key: "k"}, 0); err != nil || len(list.Items) != 0 {
		t.Errorf("behind the last key: %+v, %v", list, err)
	}
}

func (d *desk) testFailures(t *testing.T) {
	d.exec(t, `UPDATE outbox.message_held SET fingerprint = CASE id WHEN 3 THEN -5 ELSE 7 END WHERE id IN (3, 6)`)
	groups, err := d.inspector.Failures(t.Context())
	if err != nil || len(groups) != 2 {
		t.Fatalf("%+v, %v", groups, err)
	}
	if groups[0].ID != -5 {
		slices.Reverse(groups)
	}
	if g := groups[0]; g.Destination != "kafka-a" || g.Class != "too_large" || g.Code != "kafka/MESSAGE_TOO_LARGE" || g.Dead != 1 || g.Retrying != 0 || g.Keys != 1 ||
		!slices.Equal(g.Topics, []string{"order.paid"}) || len(g.Error) != errorPreview || g.First.IsZero() || g.Last.IsZero() {
		t.Errorf("%+v", g)
	}
	if g, err := d.inspector.Failure(t.Context(), 7); err != nil || g.Destination != "kafka-b" || g.Dead != 0 || g.Retrying != 1 || g.Keys != 0 {
		t.Errorf("%+v, %v", g, err)
	}
	if _, err := d.inspector.Failure(t.Context(), 8); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("a group of nothing: %v", err)
	}
	if m, err := d.inspector.Message(t.Context(), 3); err != nil || m.Failure != -5 {
		t.Errorf("%+v, %v", m, err)
	}
	for filter, want := range map[string]int{"failure:" + relay.FailureID(-5).String(): 1, "failure:0000000000000007,fffffffffffffffb": 2,
		"failure:0000000000000008": 0, "failure:0000000000000007 state:sent": 0, "failure:0000000000000007 id:3": 0, "failure:0000000000000007 id:6,3 -topic:x": 1} {
		f, err := relay.ParseFilter(filter)
		if err != nil {
			t.Fatal(err)
		}
		if list, err := d.inspector.Messages(t.Context(), f, 0, 0); err != nil || len(list.Items) != want {
			t.Errorf("%s: %+v, %v", filter, list, err)
		}
	}
}

func (d *desk) testActivity(t *testing.T) {
	list, err := d.inspector.Activity(t.Context(), 0, 0)
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	if a := list[0]; a.Action != "discard" || a.Actor != "cli:ana@host" || a.Via != "cli" || a.Reason != "test order" || a.Requested != 1 || a.Changed != 1 ||
		!slices.Equal(a.IDs, []relay.ID{8}) || a.At.IsZero() || a.DBUser == "" || a.Result == "" {
		t.Errorf("%+v", a)
	}
	if list, err := d.inspector.Activity(t.Context(), list[0].ID, 0); err != nil || len(list) != 0 {
		t.Errorf("before the first: %+v, %v", list, err)
	}
}

// A page costs the same whatever was sent.
func TestSearchIsBounded(t *testing.T) {
	d := newDesk(t, 18)
	d.exec(t, `INSERT INTO outbox.message_log (topic) SELECT CASE i WHEN 5 THEN 'rare' ELSE 'common' END FROM generate_series(1, 25000) AS i ORDER BY i`)
	f, err := relay.ParseFilter("topic:rare")
	if err != nil {
		t.Fatal(err)
	}
	var pages int
	for before := relay.ID(0); ; pages++ {
		list, err := d.inspector.Messages(t.Context(), f, before, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(list.Items) == 1 && list.Items[0].ID == 5 {
			break
		}
		if list.Next == 0 || list.Searched != searchRows || pages > 3 {
			t.Fatalf("page %d: %+v", pages, list)
		}
		before = list.Next
	}
	if pages != 2 {
		t.Errorf("%d pages before the hit", pages)
	}
}
