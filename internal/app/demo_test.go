package app

import (
	"flag"
	"os"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
)

func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "4"); err != nil { // most of the time these tests wait for servers, not for processors; -parallel still wins
		panic(err)
	}
	testservices.Main(m)
}

func TestDemoProvesWhatItSent(t *testing.T) {
	k := testservices.Kafka(t)
	r, err := Demo(t.Context(), DemoOptions{Kafka: k.Brokers, For: 4 * time.Second, Rate: 200, LogTo: testWriter{t}, Progress: testWriter{t}, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if !r.Clean() || r.Duplicates != 0 || r.Written != r.Sent || r.Sent != r.Stored || r.Written < 100 || r.RolledBack == 0 {
		t.Errorf("%+v", r)
	}
}

// The demonstration without anything but this machine, three times on one folder: each goes on where the one before ended.
func TestDemoWithTheBundledBroker(t *testing.T) {
	dir, err := os.MkdirTemp("", "waybill-demo-") // the server's account has to reach it: no folder above may be closed to it
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	written := 0
	for life := range 3 {
		r, err := Demo(t.Context(), DemoOptions{Dir: dir, PgBin: testservices.PostgresBin(t, 18), For: 2 * time.Second, Rate: 200, LogTo: testWriter{t}, Progress: testWriter{t}, Version: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if !r.Clean() || r.Duplicates != 0 || r.Written != r.Sent || r.Sent != r.Stored || r.Written < written+50 || r.RolledBack == 0 {
			t.Errorf("life %d: %+v", life, r)
		}
		written = r.Written
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}
