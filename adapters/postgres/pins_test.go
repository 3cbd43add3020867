package postgres

import (
	"errors"
	"testing"

	"github.com/waybillmq/waybill/relay"
)

func TestAdoptDestination(t *testing.T) {
	d := newDesk(t, 15)
	act := relay.Act{Actor: "cli:ana@host", Via: "cli", Reason: "a new cluster"}
	if _, _, err := d.inspector.Pinned(t.Context(), "kafka-a"); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("never used: %v", err)
	}
	if _, err := d.operator.Adopt(t.Context(), "kafka-a", "new", act); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("never used: %v", err)
	}
	store, err := Open(t.Context(), Config{URL: d.url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	pin := func(cluster string) error { return store.PinDestination(t.Context(), "kafka-a", "kafka", cluster, nil) }
	var wrong *relay.ConfigError
	if err := pin("old"); err != nil {
		t.Fatal(err)
	}
	if err := pin("new"); !errors.As(err, &wrong) {
		t.Fatalf("another cluster: %v", err)
	}
	if activity, err := d.operator.Adopt(t.Context(), "kafka-a", "new", act); err != nil || activity != 1 {
		t.Fatalf("%d, %v", activity, err)
	}
	if kind, cluster, err := d.inspector.Pinned(t.Context(), "kafka-a"); err != nil || kind != "kafka" || cluster != "new" {
		t.Errorf("%s %s, %v", kind, cluster, err)
	}
	if err := pin("new"); err != nil {
		t.Errorf("adopted: %v", err)
	}
	if err := pin("old"); !errors.As(err, &wrong) {
		t.Errorf("the cluster before: %v", err)
	}
}
