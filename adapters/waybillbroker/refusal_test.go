package waybillbroker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/waybillmq/waybill/internal/broker"
	"github.com/waybillmq/waybill/relay"
)

func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		err  error
		kind relay.Kind
		code string
		says string
	}{
		{broker.ErrFenced, relay.Unavailable, "FENCED", ""},
		{broker.ErrWindowFull, relay.Unavailable, "WINDOW_FULL", ""},
		{broker.ErrRewound, relay.Config, "SOURCE_REWOUND", "waybill adopt"},
		{broker.ErrUnknownTopic, relay.Config, "UNKNOWN_TOPIC", ""},
		{broker.ErrTooLarge, relay.Rejected, "TOO_LARGE", ""},
		{fmt.Errorf("%w: %w", broker.ErrNotLeader, broker.ErrDiskFull), relay.Unavailable, "DISK_FULL", "free space"},
		{fmt.Errorf("%w: %w", broker.ErrNotLeader, broker.ErrStopped), relay.Unavailable, "STOPPED", "start again"},
		{broker.ErrStopped, relay.Unknown, "CUT", ""}, // while it was on its way
		{broker.ErrNotLeader, relay.Unavailable, "NOT_LEADER", ""},
		{broker.ErrFlushTimeout, relay.Unknown, "FLUSH_DISK_TIMEOUT", ""},
		{broker.ErrReplicationTimeout, relay.Unknown, "FLUSH_SLAVE_TIMEOUT", ""},
		{broker.ErrLeadershipLost, relay.Unknown, "FLUSH_SLAVE_TIMEOUT", ""},
		{&broker.NotLeaderError{Group: 1, Leader: 7}, relay.Unavailable, "NOT_LEADER", "node 7 leads group 1"},
		{broker.ErrStale, relay.Unknown, "STALE", ""},
		{context.DeadlineExceeded, relay.Unknown, "TIMEOUT", ""},
		{errors.New("x"), relay.Unknown, "CUT", ""},
	} {
		o := refusal(c.err, relay.Lane{Topic: "a"})
		if o.Kind != c.kind || o.Code != "waybill/"+c.code || o.Class == "" || !strings.Contains(o.Detail, c.says) {
			t.Errorf("%v: %+v", c.err, o)
		}
	}
}
