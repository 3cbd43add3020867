package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/waybillmq/waybill/adapters/kafka"
	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/adapters/waybillbroker"
	"github.com/waybillmq/waybill/internal/audit"
	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/relay"
)

// books are an outbox, a bundled broker and a cluster of Kafka's protocol, without a relay: the test says what was sent, and what the receipts say.
type books struct {
	t      *testing.T
	pool   *pgxpool.Pool
	config *config.Config
	*audits
	to   map[string]relay.Publisher // by destination
	seqs int
}

func newBooks(t *testing.T) *books {
	t.Helper()
	database := testservices.Postgres(t, 18).URL
	if _, err := migrations.Up(t.Context(), database, migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, "k.plain", "k.event"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	node, err := startBundled(t.Context(), broker.Config{Dir: filepath.Join(t.TempDir(), "broker"), SegmentBytes: 8 << 20, Partitions: 2}, []string{"b.plain"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.stop(); err != nil {
			t.Error(err)
		}
	})
	c := config.Default()
	c.Name, c.Database.URL = "orders", config.SecretText(database)
	far := config.NewDestination("kafka-a", config.KindKafka)
	far.Kafka.Brokers = cluster.ListenAddrs()
	c.Destinations = []config.Destination{{Name: "local", Kind: config.KindWaybillBroker}, far, config.NewDestination("rocket", config.KindRocketMQ)}
	route := func(topic, to string) config.Route {
		return config.Route{Name: topic, Match: config.Match{Topic: topic}, To: config.To{Destination: to, Topic: "{topic}"}, Retry: c.Retry, OnDead: "block"}
	}
	event := route("k.event", "kafka-a")
	event.CloudEvents = config.CloudEvents{Mode: "structured", Source: "/shop", Type: "order"}
	c.Routes = []config.Route{route("b.*", "local"), event, route("*", "kafka-a")}
	a, err := openAudits(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	a.readFrom(node.node)
	b := &books{t: t, pool: pool, config: c, audits: a, to: map[string]relay.Publisher{}}
	cfg := kafka.DefaultConfig()
	cfg.Brokers = cluster.ListenAddrs()
	if b.to["kafka-a"], err = kafka.New(cfg); err != nil {
		t.Fatal(err)
	}
	local, err := waybillbroker.New(waybillbroker.Config{Broker: node.node, Unsettled: func(_ context.Context, ids []relay.ID) ([]relay.ID, error) { return nil, nil }})
	if err != nil {
		t.Fatal(err)
	}
	g, err := a.db.Generations(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	local.Source(g)
	b.to["local"] = local
	for name, p := range b.to {
		if err := p.Open(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := p.Close(context.Background()); err != nil {
				t.Errorf("close %s: %v", name, err)
			}
		})
	}
	return b
}

func (b *books) exec(sql string, args ...any) {
	b.t.Helper()
	if _, err := b.pool.Exec(b.t.Context(), sql, args...); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
}

// write writes old messages of a topic, one for each key, and takes them off pending; the first one has the id that it returns.
func (b *books) write(topic string, keys ...string) (first relay.ID) {
	b.t.Helper()
	err := b.pool.QueryRow(b.t.Context(), `WITH m AS (INSERT INTO outbox.message_log (topic, key, payload, created_at) SELECT $1, nullif(k, ''), convert_to('{"n":' || i || '}', 'UTF8'), now() - interval '1 h'
		FROM unnest($2::text[]) WITH ORDINALITY AS u(k, i) ORDER BY i RETURNING id) SELECT min(id) FROM m`, topic, keys).Scan((*int64)(&first))
	if err != nil {
		b.t.Fatal(err)
	}
	b.exec(`DELETE FROM outbox.message_pending WHERE id >= $1`, first)
	return first
}

// send presents messages, one after the other, and returns the places that the broker confirmed.
func (b *books) send(destination string, ids ...relay.ID) (places []relay.Position) {
	b.t.Helper()
	g, err := b.db.Generations(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, id := range ids {
		var m relay.Message
		if _, err := b.db.Rows(b.t.Context(), g, id-1, id, 200, func(r *postgres.AuditRow) { m = r.Message }); err != nil || m.ID != id {
			b.t.Fatalf("message %d: %v", id, err)
		}
		b.router.Find(&m)
		lane := b.to[destination].Lane(&m)
		out := b.to[destination].Publish(b.t.Context(), lane, []*relay.Message{&m})[0]
		if out.Kind != relay.Acked {
			b.t.Fatalf("%+v", out)
		}
		places = append(places, out.At)
		b.receipt(id, destination, lane.String(), out.At.Offset)
	}
	return places
}

func (b *books) receipt(id relay.ID, destination, lane string, offset int64) {
	b.t.Helper()
	b.seqs++
	b.exec(`INSERT INTO outbox.receipts (hi, lo, n, epoch, seq, destination, lane, first_offset, acked_at, ids) VALUES ($1::bigint, $1::bigint, 1, 1, $2, $3, $4, nullif($5::bigint, -1), now(), decode(lpad(to_hex($1::bigint), 2, '0'), 'hex'))`,
		int64(id), b.seqs, destination, lane, offset)
}

// audit compares ids and waits for the result.
func (b *books) audit(from, to relay.ID) audit.Run {
	b.t.Helper()
	run, err := b.Begin(b.t.Context(), from, to, relay.Act{Actor: "ui:ana", Via: "ui"})
	if err != nil {
		b.t.Fatal(err)
	}
	eventually(b.t, "the audit has ended", func() bool { return b.Running() == nil })
	ended, err := b.Ended(b.t.Context())
	if err != nil || len(ended) == 0 || ended[0].ID != run.ID {
		b.t.Fatalf("%+v, %v", ended, err)
	}
	return ended[0]
}

// What was sent to the bundled broker and to Kafka is found where its receipts say, in the form of its route, and each thing that is not as it was sent is named. What
// cannot be read back is not judged, and said.
func TestAuditOfTheBundledBrokerAndKafka(t *testing.T) {
	b := newBooks(t)
	sound := b.write("b.plain", "1", "2", "1", "") // 4 in the bundled broker
	b.send("local", sound, sound+1, sound+2, sound+3)
	far := b.write("k.plain", "1", "2", "1", "")
	b.send("kafka-a", far, far+1, far+2, far+3)
	event := b.write("k.event", "7")
	b.send("kafka-a", event)
	run := b.audit(sound, event)
	if got := run.Line(); !strings.HasPrefix(got, "clean: written 9, sent 9, stored 9, waiting 0") || run.Rows != 9 || run.Records < 9 || run.Notes != nil {
		t.Fatalf("%s, %+v", got, run)
	}

	bad := b.write("k.plain", "a", "a", "b", "c", "d", "e", "g")
	b.send("kafka-a", bad+1, bad) // out of order
	twice := b.send("kafka-a", bad+2, bad+2)
	b.exec(`DELETE FROM outbox.receipts WHERE hi = $1 AND first_offset = $2`, int64(bad+2), twice[0].Offset) // the second copy counts, the first one is told as one too many
	b.send("kafka-a", bad+3)
	b.exec(`UPDATE outbox.message_log SET payload = 'other' WHERE id = $1`, int64(bad+3))
	b.receipt(bad+4, "kafka-a", "k.plain/0", 0)    // something else lies there
	b.receipt(bad+6, "kafka-a", "k.plain/1", 1000) // behind the end: the broker has lost it
	phantom := b.write("k.plain", "f", "f")
	b.send("kafka-a", phantom, phantom+1)
	b.exec(`DELETE FROM outbox.receipts WHERE hi = $1`, int64(phantom))
	b.exec(`DELETE FROM outbox.message_log WHERE id = $1`, int64(phantom))
	elsewhere := b.write("k.plain", "x", "y", "z")
	b.receipt(elsewhere, "rocket", "x/0", 3)
	b.receipt(elsewhere+1, "gone", "x/0", 3)
	b.receipt(elsewhere+2, "local", "b.nowhere/0", 3)
	run = b.audit(sound, elsewhere+2)
	found := map[string]string{}
	for _, d := range run.Result.Differences {
		found[string(d.Kind)] = strings.TrimSpace(found[string(d.Kind)] + " " + fmt.Sprint(d.ID-int64(bad)))
	}
	want := map[string]string{"out_of_order": "1", "duplicate": "2", "altered": "3", "missing": "4 6", "unsent": "5", "foreign": "7"}
	if fmt.Sprint(found) != fmt.Sprint(want) || run.Verdict() != audit.Differences || run.Result.Unread != 3 {
		t.Errorf("%v, want %v: %s", found, want, run.Line())
	}
	notes := strings.Join(run.Notes, "\n")
	for _, said := range []string{"rocket: what a broker of kind rocketmq has stored cannot be read back", "gone: it is not configured here", "local b.nowhere/0: "} {
		if !strings.Contains(notes, said) {
			t.Errorf("the notes lack %q: %s", said, notes)
		}
	}
	if run := b.audit(elsewhere, elsewhere+2); run.Verdict() != audit.Void {
		t.Errorf("nothing could be read: %s", run.Line())
	}

	other, err := openAudits(b.config, slog.New(slog.DiscardHandler)) // of another relay, without the broker
	if err != nil {
		t.Fatal(err)
	}
	defer other.close()
	ended, err := other.Ended(t.Context())
	if err != nil || len(ended) != 3 || ended[1].Line() != run.Line() && ended[1].Result.Lost != 3 || !slices.IsSortedFunc(ended, func(a, b audit.Run) int { return int(b.ID - a.ID) }) {
		t.Errorf("%+v, %v", ended, err)
	}
	if run, err := other.Begin(t.Context(), sound, sound+3, relay.Act{Actor: "ui:ben", Via: "ui"}); err != nil {
		t.Errorf("%+v, %v", run, err)
	}
	var state *relay.StateError
	if _, err := other.Begin(t.Context(), sound, sound+3, relay.Act{Actor: "ui:ben", Via: "ui"}); other.Running() != nil && !errors.As(err, &state) {
		t.Errorf("a second one: %v", err)
	}
	eventually(t, "it has ended", func() bool { return other.Running() == nil })
	if ended, err := other.Ended(t.Context()); err != nil || ended[0].Verdict() != audit.Void || !strings.Contains(strings.Join(ended[0].Notes, ""), "does not run in this process") {
		t.Errorf("%+v, %v", ended, err)
	}
}

// While one waits for the database to begin, whoever asks what runs is answered, and no other begins.
func TestAuditThatBeginsHoldsNobodyUp(t *testing.T) {
	b := newBooks(t)
	first := b.write("k.plain", "1")
	tx, err := b.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock(hashtextextended('waybill audit outbox', 0))`); err != nil {
		t.Fatal(err)
	}
	begun := make(chan error, 1)
	go func() {
		_, err := b.Begin(t.Context(), first, first, relay.Act{Actor: "ui:ana", Via: "ui"})
		begun <- err
	}()
	eventually(t, "it waits for the lock", func() (waits bool) {
		return tx.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)`).Scan(&waits) == nil && waits
	})
	if run := b.Running(); run != nil {
		t.Errorf("%+v runs", run)
	}
	if _, err := b.Begin(t.Context(), first, first, relay.Act{Actor: "ui:ben", Via: "ui"}); !errors.As(err, new(*relay.StateError)) {
		t.Errorf("a second one: %v", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-begun; err != nil {
		t.Error(err)
	}
	eventually(t, "it has ended", func() bool { return b.Running() == nil })
}

// A relay that ends meanwhile waits for no audit, and says what became of it.
func TestAuditEndsWithItsRelay(t *testing.T) {
	b := newBooks(t)
	first := b.write("k.plain", "1", "2")
	b.slow = time.Hour
	if _, err := b.Begin(t.Context(), first, first+1, relay.Act{Actor: "ui:ana", Via: "ui"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it reads", func() bool { run := b.Running(); return run != nil && run.Rows == 2 })
	b.stop()
	b.done.Wait()
	if ended, err := b.Ended(t.Context()); err != nil || len(ended) != 1 || ended[0].Failure != "whoever ran it ended in between" {
		t.Errorf("%+v, %v", ended, err)
	}
	if _, err := b.Begin(t.Context(), first, first+1, relay.Act{Actor: "ui:ana", Via: "ui"}); err == nil {
		t.Error("one begins when the relay has ended")
	}
}

// An audit is at work for half of the time at most, and below its rate.
func TestAuditPace(t *testing.T) {
	now := time.Unix(100, 0)
	for _, c := range []struct {
		bytes      int
		took, want time.Duration
	}{{0, 0, 0}, {0, 3 * time.Second, 3 * time.Second}, {1000, time.Second, 9 * time.Second}, {100, time.Second, time.Second}} {
		p := pacer{rate: 100, at: now.Add(-c.took)}
		if got := p.after(c.bytes, now); got != c.want {
			t.Errorf("%d bytes in %s: %s, want %s", c.bytes, c.took, got, c.want)
		}
	}
}

// A statement of an audit asks for fewer rows the larger they are.
func TestAuditStatementsStayShort(t *testing.T) {
	for _, c := range []struct{ rows, bytes, want int }{{20, 0, 40}, {20, 1000, 40}, {400, 1 << 20, 500}, {500, 4 << 20, 250}, {20, 80 << 20, 1}, {1, 80 << 20, 1}, {1, 0, 2}} {
		if got := auditRowsNext(c.rows, c.bytes); got != c.want {
			t.Errorf("after %d rows of %d bytes: %d, want %d", c.rows, c.bytes, got, c.want)
		}
	}
}

func TestLanesOfReceipts(t *testing.T) {
	for s, want := range map[string]relay.Lane{"a/0": {Topic: "a"}, "a/b/17": {Topic: "a/b", Index: 17}, "a": {}, "/1": {}, "a/": {}, "a/x": {}, "17": {}, "": {}, "a/99999999999": {}} {
		got, err := parseLane(s)
		if got != want || (err == nil) != (want.Topic != "") {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
	if got := printable("a\x00b\n" + strings.Repeat("é", 99)); len(got) > 100 || strings.ContainsAny(got, "\x00\n") || !strings.HasPrefix(got, "abé") {
		t.Errorf("%q", got)
	}
}
