package doctor

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/relay"
)

func wellRun() RelayFacts {
	return RelayFacts{Owned: Told{Healthy: true}, Instances: []string{"a", "b"}, Lease: 30 * time.Second, Trust: 20 * time.Second, Deadlines: []Deadline{{"kafka-a", 17 * time.Second}},
		OpenFiles: 65536, Files: []File{{Key: "dashboard.token_file", Path: "/x/token", Mode: 0o600}, {Key: "database.url", Path: "/run/secret", Mode: 0o440}},
		Folders: []Folder{{Key: "broker.dir", Path: "/x/broker", Free: 1 << 40}},
		Cache:   &CacheFolder{Folder: Folder{Key: "cache.dir", Path: "/x/cache", Free: 2 << 30}, MinFree: 1 << 30, Max: 1 << 30, Mode: 0o700}}
}

func TestRelayFacts(t *testing.T) {
	for _, f := range JudgeRelay(wellRun()) {
		if f.Level != relay.LevelOK {
			t.Errorf("a relay that is well: %+v", f)
		}
	}
	if n := len(JudgeRelay(wellRun())); n != 7 {
		t.Errorf("%d checks of a relay that is well", n)
	}
	for name, c := range map[string]struct {
		change func(*RelayFacts)
		id     string
		level  relay.Level
		text   string
	}{
		"no owner": {func(f *RelayFacts) {
			f.Owned = Told{Evidence: []string{"the lease of a ended"}, Next: []string{"start one: waybill run"}}
		}, "relay.owner", relay.LevelFail, "start one: waybill run"},
		"no database":      {func(f *RelayFacts) { f.Err = errors.New("refused") }, "relay.owner", relay.LevelUnseen, "refused"},
		"alone":            {func(f *RelayFacts) { f.Instances = []string{"a"} }, "relay.standby", relay.LevelWarn, "waybill run"},
		"long answer":      {func(f *RelayFacts) { f.Deadlines[0].Publish = 32 * time.Second }, "relay.lease_margin", relay.LevelWarn, "set relay.lease to 42s"},
		"few files":        {func(f *RelayFacts) { f.OpenFiles = 256 }, "relay.open_files", relay.LevelWarn, "ulimit -n"},
		"open file":        {func(f *RelayFacts) { f.Files[0].Mode = 0o644 }, "relay.files", relay.LevelWarn, "chmod 600 /x/token"},
		"group may write":  {func(f *RelayFacts) { f.Files[1].Mode = 0o660 }, "relay.files", relay.LevelWarn, "chmod 600 /run/secret"},
		"hidden file":      {func(f *RelayFacts) { f.Files[0].Err = errors.New("permission denied") }, "relay.files", relay.LevelUnseen, "permission denied"},
		"in memory":        {func(f *RelayFacts) { f.Folders[0].Kind = "tmpfs" }, "relay.disk", relay.LevelWarn, "lies on tmpfs"},
		"cache in memory":  {func(f *RelayFacts) { f.Cache.Kind = "tmpfs" }, "relay.cache", relay.LevelWarn, "/x/cache lies on tmpfs"},
		"cache is full":    {func(f *RelayFacts) { f.Cache.Free = 1<<30 - 1 }, "relay.cache", relay.LevelWarn, "1023 MiB left, 1024 MiB must stay free"},
		"cache lacks room": {func(f *RelayFacts) { f.Cache.Max, f.Cache.Used = 4<<30, 1<<30 }, "relay.cache", relay.LevelWarn, "may take 4.0 GiB and the disk has room for 2.0 GiB"},
		"cache is open":    {func(f *RelayFacts) { f.Cache.Mode = 0o750 }, "relay.cache", relay.LevelWarn, "chmod 700 /x/cache"},
		"cache is barred":  {func(f *RelayFacts) { f.Cache.Err = errors.New("permission denied") }, "relay.cache", relay.LevelFail, "permission denied"},
		"full":             {func(f *RelayFacts) { f.Folders[0].Free = 100 << 20 }, "relay.disk", relay.LevelWarn, "100 MiB left"},
	} {
		f := wellRun()
		c.change(&f)
		found := JudgeRelay(f)
		i := slices.IndexFunc(found, func(f Finding) bool { return f.ID == c.id && f.Level == c.level })
		if i < 0 || !strings.Contains(found[i].Text+" "+found[i].Fix, c.text) {
			t.Errorf("%s: %+v", name, found)
		}
		for _, other := range found {
			if other.ID != c.id && other.Level != relay.LevelOK && name != "no database" {
				t.Errorf("%s: also %+v", name, other)
			}
		}
	}
}

func TestDestinationFacts(t *testing.T) {
	well := DestinationFacts{Name: "kafka-a", Told: Told{Healthy: true}, Pinned: "c1", Checked: relay.Findings{Cluster: "c1", Items: []relay.Finding{{ID: "kafka.reachable", Level: relay.LevelOK, Subject: "k:9092"}}}}
	for _, f := range JudgeDestination(well) {
		if f.Level != relay.LevelOK || f.Area != Destination || !strings.HasPrefix(f.Subject, "kafka-a") {
			t.Errorf("%+v", f)
		}
	}
	for name, c := range map[string]struct {
		change func(*DestinationFacts)
		id     string
		level  relay.Level
		text   string
	}{
		"breaker": {func(f *DestinationFacts) {
			f.Told = Told{Evidence: []string{"cannot be reached"}, Next: []string{"nothing"}}
		}, "destination.state", relay.LevelFail, "cannot be reached"},
		"paused": {func(f *DestinationFacts) {
			f.Paused, f.PausedFor = &relay.PausedDestination{Destination: "kafka-a", Actor: "cli:ana@host", Reason: "rebalance"}, longPause
		}, "destination.paused", relay.LevelOK, "paused by cli:ana@host since"},
		"paused for days": {func(f *DestinationFacts) {
			f.Paused, f.PausedFor = &relay.PausedDestination{Destination: "kafka-a", Actor: "cli:ana@host", Reason: "rebalance"}, longPause+time.Second
		}, "destination.paused", relay.LevelWarn, "waybill destination resume kafka-a"},
		"all paused for days": {func(f *DestinationFacts) {
			f.Paused, f.PausedFor = &relay.PausedDestination{Actor: "cli:ana@host", Reason: "rebalance"}, longPause+time.Second
		}, "destination.paused", relay.LevelWarn, "waybill destination resume --all"},
		"silence": {func(f *DestinationFacts) { f.NoReport = true }, "destination.state", relay.LevelUnseen, "no relay has reported"},
		"unknown": {func(f *DestinationFacts) { f.ToldErr = errors.New("refused") }, "destination.state", relay.LevelUnseen, "refused"},
		"another": {func(f *DestinationFacts) { f.Pinned = "c0" }, "destination.cluster", relay.LevelFail, "waybill destination adopt kafka-a --reason R"},
		"unsafe": {func(f *DestinationFacts) {
			f.Checked.Items = []relay.Finding{{ID: "kafka.min_insync_replicas", Level: relay.LevelFail, Subject: "orders", Text: "it is 1", Fix: "set it to 2"}}
		}, "kafka.min_insync_replicas", relay.LevelFail, "set it to 2"},
	} {
		f := well
		c.change(&f)
		found := JudgeDestination(f)
		i := slices.IndexFunc(found, func(f Finding) bool { return f.ID == c.id && f.Level == c.level })
		if i < 0 || !strings.Contains(found[i].Text+found[i].Fix, c.text) || (c.level == relay.LevelFail || c.level == relay.LevelWarn) != (found[i].Effect != "") {
			t.Errorf("%s: %+v", name, found)
		}
	}
	well.Pinned, well.Same = "c1@other", func(a, b string) bool { return strings.HasPrefix(a, b) }
	if f := JudgeDestination(well)[1]; f.ID != "destination.cluster" || f.Level != relay.LevelOK {
		t.Errorf("one cluster under two ids: %+v", f)
	}
}

func TestConfigFacts(t *testing.T) {
	if w := Worst(JudgeConfig(ConfigFacts{})); w != relay.LevelOK {
		t.Errorf("nothing wrong is %s", w)
	}
	found := JudgeConfig(ConfigFacts{Warnings: []Remark{{"broker.enabled", "nothing is sent to it"}}, Secrets: []Remark{{"database.url", "environment variable X is not set"}}, Routes: []string{"route_tests[0]: goes elsewhere"}})
	for i, want := range []string{"config.warning warn broker.enabled", "config.secret fail database.url", "config.route fail routes"} {
		if got := found[i].ID + " " + string(found[i].Level) + " " + found[i].Subject; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
