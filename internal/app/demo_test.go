package app

import (
	"flag"
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

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}
