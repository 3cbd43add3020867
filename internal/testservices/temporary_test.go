package testservices_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/segmentio/kafka-go"

	"github.com/waybillmq/waybill/internal/testservices"
)

// unpacked fails the test unless the folder of a server whose log is named holds temporary files of all these kinds.
func unpacked(t *testing.T, log string, kinds ...string) {
	t.Helper()
	for _, kind := range kinds {
		names, err := filepath.Glob(filepath.Join(filepath.Dir(log), "tmp", kind))
		must(t, err)
		if len(names) == 0 {
			t.Errorf("%s is not in the folder of its server", kind)
		}
	}
}

func gone(t *testing.T, name string) {
	t.Helper()
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s was left: %v", name, err)
	}
}

// What a JVM unpacks lies in the folder of its server, and nowhere when that is gone, although kill -9 gave it no time to tidy up.
func TestKafkaUnpacksIntoItsFolder(t *testing.T) {
	c, err := testservices.NewKafka(t.Context(), 1)
	must(t, err)
	defer c.Close()
	must(t, c.CreateTopic("packed", 1, nil))
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(c.Brokers...), Transport: transport, Timeout: patience}
	for _, codec := range []kafka.Compression{kafka.Lz4, kafka.Snappy} {
		res, err := client.Produce(t.Context(), &kafka.ProduceRequest{Topic: "packed", RequiredAcks: kafka.RequireAll, Compression: codec,
			Records: kafka.NewRecordReader(kafka.Record{Value: kafka.NewBytes(make([]byte, 1000))})})
		if err == nil {
			err = res.Error
		}
		must(t, err)
	}
	must(t, c.Kill())
	unpacked(t, c.LogFile(1), "liblz4-java-*.so", "snappy-*.so")
	must(t, c.Close())
	gone(t, filepath.Dir(c.LogFile(1)))
}

func TestRocketMQWritesKeysIntoItsFolder(t *testing.T) {
	r, err := testservices.NewRocketMQ(t.Context())
	must(t, err)
	defer r.Close()
	must(t, r.Kill())
	for _, part := range []testservices.Part{testservices.NameServer, testservices.Master} {
		unpacked(t, r.LogFile(part), "keyutil_localhost_*.key", "keyutil_localhost_*.crt")
	}
	must(t, r.Close())
	for _, part := range []testservices.Part{testservices.NameServer, testservices.Master} {
		gone(t, filepath.Dir(r.LogFile(part)))
	}
}
