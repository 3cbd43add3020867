package testservices_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/testservices"
)

func TestSharedRocketMQ(t *testing.T) {
	r := testservices.RocketMQ(t)
	must(t, r.CreateTopic("plain", 4))
	must(t, r.CreateTopic("plain", 6))
	must(t, r.DeleteTopic("plain"))
}

func TestRocketMQSurvivesItsFaults(t *testing.T) {
	r := testservices.RocketMQCluster(t, testservices.WithSlave(), testservices.WithSecondNameServer())
	must(t, r.CreateTopic("orders", 2))
	must(t, r.Kill(testservices.Master))
	must(t, r.Start(testservices.Master))
	must(t, r.CreateTopic("orders", 4))
	must(t, r.Kill(testservices.Slave))
	must(t, r.Start())
	must(t, r.Pause(testservices.NameServer))
	must(t, r.CreateTopic("payments", 1))
	must(t, r.Resume(testservices.NameServer))
	must(t, r.SlowFlush(time.Second))
	must(t, r.SlowFlush(0))
	must(t, r.Stop(testservices.NameServer2))
	if err := r.Pause(testservices.NameServer2); err == nil {
		t.Error("a part that is down was paused")
	}
	must(t, r.Kill())
	must(t, r.Start())
	must(t, r.CreateTopic("orders", 6))
}

func TestRocketMQWithAccounts(t *testing.T) {
	r := testservices.RocketMQCluster(t, testservices.WithACL())
	must(t, r.SetAccounts(testservices.Account{AccessKey: "somebody", SecretKey: "some-secret", Topics: map[string]string{"a": "PUB"}}))
	must(t, r.CreateTopic("a", 1))
}

// A broker that was killed while it made a file does not start over it by itself.
func TestRocketMQStartsOverAFileThatWasNotMade(t *testing.T) {
	r := testservices.RocketMQCluster(t)
	must(t, r.CreateTopic("unmade", 1))
	must(t, r.Kill(testservices.Master))
	must(t, os.MkdirAll(filepath.Join(r.Store(testservices.Master), "consumequeue", "unmade", "0"), 0o755))
	must(t, os.WriteFile(filepath.Join(r.Store(testservices.Master), "consumequeue", "unmade", "0", "00000000000000120000"), nil, 0o644))
	must(t, r.Start(testservices.Master))
}
