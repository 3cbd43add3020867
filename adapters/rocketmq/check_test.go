package rocketmq

import (
	"testing"

	"github.com/waybillmq/waybill/relay"
)

// What Check says of settings that only brokers from 5.0 on have. In controller mode confirmed messages can be lost (apache/rocketmq issues 7689, 7017).
func TestSettingsFrom5On_E15(t *testing.T) {
	safe := settings{setFlush: "SYNC_FLUSH", setRole: "SYNC_MASTER", setController: "false", setAutoInSync: "false", setInSync: "2"}
	alone, both := map[string]string{"0": "10.0.0.1:10911"}, map[string]string{"0": "10.0.0.1:10911", "1": "10.0.0.2:10911"}
	for _, c := range []struct {
		setting, is string
		addrs       map[string]string
		id          string // of the finding that is not ok; empty = all are
		level       relay.Level
	}{
		{"", "", both, "", ""},
		{setController, "true", both, "rocketmq.controller_mode", relay.LevelWarn},
		{setAutoInSync, "true", both, "rocketmq.auto_in_sync", relay.LevelWarn},
		{setInSync, "1", both, "rocketmq.in_sync_replicas", relay.LevelFail},
		{"", "", alone, "rocketmq.slave", relay.LevelFail},
	} {
		s := settings{c.setting: c.is}
		for name, is := range safe {
			if name != c.setting {
				s[name] = is
			}
		}
		r := report{}
		r.durability(brokerData{Name: "b1", Addrs: c.addrs}, s)
		seen := false
		for _, f := range r.found.Items {
			want := relay.LevelOK
			if f.ID == c.id {
				want, seen = c.level, true
			}
			if f.Level != want || (f.Fix == "") != (want == relay.LevelOK) || f.Subject != "b1" {
				t.Errorf("%s %s: %+v, want %s", c.setting, c.is, f, want)
			}
		}
		if c.id != "" && !seen {
			t.Errorf("%s %s: no finding %s", c.setting, c.is, c.id)
		}
	}
}
