package relaytest_test

import (
	"testing"

	"github.com/waybillmq/waybill/relay"
	"github.com/waybillmq/waybill/relay/relaytest"
)

func TestCacheInMemory(t *testing.T) {
	relaytest.TestCache(t, func(_ *testing.T, room int) relay.Cache { return &relaytest.Cache{Room: room} })
}
