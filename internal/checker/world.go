package checker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
)

// broker is what a run sends to: a real Kafka, or a fake one for answers that a real one gives only by accident.
type broker struct {
	real  *testservices.Cluster
	fake  *kfake.Cluster
	addrs []string
}

func (b *broker) close() error {
	if b.fake != nil {
		b.fake.Close()
		return nil
	}
	return b.real.Close()
}

// world is everything that a run starts.
type world struct {
	plan   Plan
	dir    string
	binary string
	pg     *testservices.PGServer
	broker *broker
	outs   []*outboxRun
	clean  []func() error
}

// outboxRun is one outbox of a run: a database of its own, a topic, producers, relays.
type outboxRun struct {
	name     string
	url      string
	topic    string
	producer *producer
	relays   *relays
	log      *intents
	turn     sync.Mutex // held by the fault that changes its owner
}

const partitions = 4

// build starts servers, databases and topics; close ends what was started, also after an error.
func (w *world) build(ctx context.Context) error {
	var err error
	settings := []testservices.Option{testservices.Setting("wal_writer_delay", w.plan.WALDelay.String())}
	for name, value := range w.plan.Settings {
		settings = append(settings, testservices.Setting(name, value))
	}
	if w.plan.CommitDelay {
		settings = append(settings, testservices.Fsync())
	}
	if w.pg, err = testservices.NewPostgres(ctx, w.plan.Postgres, settings...); err != nil {
		return err
	}
	w.clean = append(w.clean, w.pg.Close)
	if err := w.startBroker(ctx); err != nil {
		return err
	}
	for i := range w.plan.Outboxes {
		o, err := w.outbox(ctx, fmt.Sprintf("ob%d", i+1))
		if err != nil {
			return err
		}
		w.outs = append(w.outs, o)
	}
	return nil
}

func (w *world) startBroker(ctx context.Context) error {
	if w.plan.Fake {
		fake, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			return err
		}
		w.broker = &broker{fake: fake, addrs: fake.ListenAddrs()}
	} else {
		real, err := testservices.NewKafka(ctx, 1)
		if err != nil {
			return err
		}
		w.broker = &broker{real: real, addrs: real.Brokers}
	}
	w.clean = append(w.clean, w.broker.close)
	return nil
}

// outbox makes one outbox with its oracle.
func (w *world) outbox(ctx context.Context, name string) (*outboxRun, error) {
	o := &outboxRun{name: name, url: w.pg.URL(name), topic: "orders-" + name}
	admin, err := connect(ctx, w.pg.URL("postgres"))
	if err != nil {
		return nil, err
	}
	defer closeConn(admin)
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return nil, err
	}
	if _, err := migrations.Up(ctx, o.url, migrations.Options{}); err != nil {
		return nil, err
	}
	conn, err := connect(ctx, o.url)
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	if _, err := conn.Exec(ctx, oracleSQL); err != nil {
		return nil, fmt.Errorf("oracle: %w", err)
	}
	limit := fmt.Sprint(topicLimit)
	if w.broker.fake != nil {
		err = addTopic(ctx, w.broker.addrs, o.topic, partitions, map[string]string{"max.message.bytes": limit})
	} else {
		err = w.broker.real.CreateTopic(o.topic, partitions, map[string]string{"max.message.bytes": limit})
	}
	if err != nil {
		return nil, err
	}
	if o.log, err = newIntents(filepath.Join(w.dir, name+".intents.jsonl")); err != nil {
		return nil, err
	}
	o.producer = &producer{url: o.url, topic: o.topic, run: fmt.Sprintf("%s-%x", name, w.plan.Seed), load: w.plan.Load, log: o.log}
	o.relays = &relays{binary: w.binary, url: o.url, brokers: w.broker.addrs, tuning: w.plan.Tuning, bug: w.plan.Bug, dir: w.dir, name: name,
		apart: w.plan.Kinds[Partition] > 0}
	w.clean = append(w.clean, o.relays.stop, o.log.close)
	return o, nil
}

// close ends everything in reverse order of its start.
func (w *world) close() error {
	var errs []error
	for i := len(w.clean) - 1; i >= 0; i-- {
		errs = append(errs, w.clean[i]())
	}
	w.clean = nil
	return errors.Join(errs...)
}

// ask runs a query that gives one row, again and again while the database is away, for at most 30 s.
func (o *outboxRun) ask(ctx context.Context, sql string, args []any, into ...any) error {
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		err = func() error {
			conn, err := connect(ctx, o.url)
			if err != nil {
				return err
			}
			defer closeConn(conn)
			return conn.QueryRow(ctx, sql, args...).Scan(into...)
		}()
		if err == nil || errors.Is(err, pgx.ErrNoRows) || !wait(ctx, 50*time.Millisecond) {
			return err
		}
	}
	return err
}

func makeDir(dir string) (string, error) {
	if dir == "" {
		return os.MkdirTemp("", "waybill-chaos-")
	}
	return dir, os.MkdirAll(dir, 0o700)
}
