package doctor

import (
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/waybillmq/waybill/relay"
)

// RelayFacts are about the relays of an outbox and the machine that asks.
type RelayFacts struct {
	Err       error // why the database could not tell; nil = it could
	Owned     Told
	Instances []string // relays that were seen lately, the owner among them

	Lease, Trust time.Duration // of the configuration: how long ownership is granted, and believed in
	Deadlines    []Deadline

	OpenFiles uint64 // limit of this process; 0 = not known
	Files     []File
	Folders   []Folder
	Cache     *CacheFolder // nil = there is no degraded cache
}

// Told is what `waybill why` says about something.
type Told struct {
	Healthy  bool
	Evidence []string
	Next     []string
}

// Deadline is the longest time that a destination waits for the answer to a batch.
type Deadline struct {
	Destination string
	Publish     time.Duration
}

// File is a file that others should not read.
type File struct {
	Key  string // of the configuration, that names it
	Path string
	Mode fs.FileMode
	Err  error // it cannot be looked at
}

// Folder is where this program keeps data.
type Folder struct {
	Key, Path string
	Kind      string // of the file system: tmpfs, overlay, or of the network: nfs, smb, ceph; empty = none of these, or not known
	Free      int64  // bytes; below 0 = not known
}

// CacheFolder is where the degraded cache lies.
type CacheFolder struct {
	Folder
	MinFree int64       // bytes: with less left it takes nothing
	Max     int64       // bytes that it may take
	Used    int64       // bytes that its files take now; below 0 = not known
	Rate    float64     // bytes that come a second, as far as the outbox tells; 0 = not known
	Mode    fs.FileMode // 0 = it is not there yet
	Err     error       // why this account cannot use it; nil = it can
}

// Limits from which something is worth a word.
const (
	fewFiles = 1024
	lowRoom  = 1 << 30
	open     = 0o037 // to others; its group may read, as secrets are mounted in containers
)

// JudgeRelay judges who works the outbox, and this machine.
func JudgeRelay(f RelayFacts) []Finding {
	r := report{}
	r.owner(f)
	r.each("relay.lease_margin", "relay.lease", fmt.Sprintf("every batch is answered or given up within the %s for which the lease is trusted", short(f.Trust)), func() {
		for _, d := range f.Deadlines {
			if d.Publish > f.Trust {
				r.add("relay.lease_margin", relay.LevelWarn, d.Destination, fmt.Sprintf("set relay.lease to %s, or shorten destinations.%s.timeouts", (f.Lease+d.Publish-f.Trust).Round(time.Second), d.Destination),
					"a batch may wait %s for its answer, the lease is trusted for %s", short(d.Publish), short(f.Trust))
			}
		}
	})
	r.machine(f)
	return r.found
}

func (r *report) owner(f RelayFacts) {
	if f.Err != nil {
		r.unseen("relay.owner", "outbox", f.Err, "")
		r.unseen("relay.standby", "outbox", f.Err, "")
		return
	}
	if f.Owned.Healthy {
		r.ok("relay.owner", "outbox", "one relay owns it")
	} else {
		r.add("relay.owner", relay.LevelFail, "outbox", strings.Join(f.Owned.Next, "; "), "%s", strings.Join(f.Owned.Evidence, "; "))
	}
	switch len(f.Instances) {
	case 0: // relay.owner says what to do
	case 1:
		r.add("relay.standby", relay.LevelWarn, "outbox", "on another machine, with the same configuration: waybill run", "%s is the only relay", f.Instances[0])
	default:
		r.ok("relay.standby", "outbox", "%d relays: %s", len(f.Instances), strings.Join(f.Instances, ", "))
	}
}

func (r *report) machine(f RelayFacts) {
	switch {
	case f.OpenFiles == 0:
	case f.OpenFiles < fewFiles:
		r.add("relay.open_files", relay.LevelWarn, "limit nofile", "LimitNOFILE=65536 in the unit, or: ulimit -n 65536", "a process here may open %d files; dashboard, brokers and broker data want %d or more", f.OpenFiles, fewFiles)
	default:
		r.ok("relay.open_files", "limit nofile", "%d", f.OpenFiles)
	}
	r.each("relay.files", "secrets", "nobody else can read them", func() {
		for _, file := range f.Files {
			switch {
			case file.Err != nil:
				r.unseen("relay.files", file.Key, file.Err, "")
			case file.Mode.Perm()&open != 0:
				r.add("relay.files", relay.LevelWarn, file.Key, "chmod 600 "+file.Path, "%s has mode %#o and is open to others", file.Path, file.Mode.Perm())
			}
		}
	})
	r.each("relay.disk", "data", "on a real disk with room", func() {
		for _, d := range f.Folders {
			if d.Kind != "" {
				r.add("relay.disk", relay.LevelWarn, d.Key, "mount a volume there, or name another folder in "+d.Key, "%s lies on %s", d.Path, d.Kind)
			}
			if d.Free >= 0 && d.Free < lowRoom {
				r.add("relay.disk", relay.LevelWarn, d.Key, "make room on the file system of "+d.Path, "%s has %d MiB left", d.Path, d.Free>>20)
			}
		}
	})
	if f.Cache != nil {
		r.each("relay.cache", f.Cache.Key, "on a real disk with room, and closed to others; "+f.Cache.forecast(), func() { r.cache(*f.Cache) })
	}
}

func (r *report) cache(c CacheFolder) {
	if c.Err != nil {
		r.add("relay.cache", relay.LevelFail, c.Key, "as root, for the account of the relay: install -d -m 700 -o ACCOUNT "+c.Path+"; or name another folder in "+c.Key+", or set cache.enabled to false",
			"this account cannot use it: %v", c.Err)
	}
	if c.Mode.Perm()&0o077 != 0 {
		r.add("relay.cache", relay.LevelWarn, c.Key, "chmod 700 "+c.Path, "%s has mode %#o and is open to others", c.Path, c.Mode.Perm())
	}
	if c.Kind != "" {
		r.add("relay.cache", relay.LevelWarn, c.Key, "mount a volume there, or name another folder in "+c.Key, "%s lies on %s", c.Path, c.Kind)
	}
	switch {
	case c.Free >= 0 && c.Free < c.MinFree:
		r.add("relay.cache", relay.LevelWarn, c.Key, "make room on the file system of "+c.Path+", or lower cache.min_free", "%s has %d MiB left, %d MiB must stay free", c.Path, c.Free>>20, c.MinFree>>20)
	case c.Free >= 0 && c.Used >= 0 && c.Free-c.MinFree < c.Max-c.Used:
		r.add("relay.cache", relay.LevelWarn, c.Key, fmt.Sprintf("make room on the file system of %s, or set cache.max_bytes to %dMiB", c.Path, (c.Used+c.Free-c.MinFree)>>20),
			"it may take %s and the disk has room for %s: %s", bytes(c.Max), bytes(c.Used+c.Free-c.MinFree), c.forecast())
	}
}

// forecast says how long a broker may be down until the cache refuses. The table takes what it refuses, so that is no failure.
func (c *CacheFolder) forecast() string {
	if c.Free < 0 || c.Used < 0 {
		return "how much it can take is not known"
	}
	room := max(min(c.Max-c.Used, c.Free-c.MinFree), 0)
	if c.Rate <= 0 {
		return "it can take " + bytes(room) + ", for how long is not known"
	}
	return "it can take " + bytes(room) + ", about " + long(lasting(room, c.Rate)) + " of what was written lately"
}

// DestinationFacts are what is known of one destination.
type DestinationFacts struct {
	Name     string
	Checked  relay.Findings // of the broker itself
	Pinned   string         // cluster that its name stands for; empty = none yet, or not known
	Same     func(a, b string) bool
	Told     Told  // what the owner reports
	ToldErr  error // why that is not known
	NoReport bool  // no relay reports it

	Paused    *relay.PausedDestination // by a person; nil = not
	PausedFor time.Duration
}

// longPause is how long a person's pause is nobody's concern.
const longPause = 24 * time.Hour

// paused judges a person's pause: that nothing is sent is meant so.
func (r *report) paused(f DestinationFacts) {
	p, level := f.Paused, relay.LevelOK
	if f.PausedFor > longPause {
		level = relay.LevelWarn
	}
	resume := "waybill destination resume " + f.Name
	if p.Destination == "" {
		resume = "waybill destination resume --all"
	}
	r.add("destination.paused", level, f.Name, resume, "paused by %s since %s because: %s", p.Actor, p.At.UTC().Format(time.RFC3339), p.Reason)
}

// JudgeDestination judges a broker's own settings, which cluster answers, and what the owner meets there.
func JudgeDestination(f DestinationFacts) []Finding {
	r := report{}
	switch {
	case f.ToldErr != nil:
		r.unseen("destination.state", f.Name, f.ToldErr, "")
	case f.Paused != nil:
		r.paused(f)
	case f.NoReport:
		r.add("destination.state", relay.LevelUnseen, f.Name, "waybill status", "no relay has reported it in the last 15 s")
	case f.Told.Healthy:
		r.ok("destination.state", f.Name, "the owner can send to it")
	default:
		r.add("destination.state", relay.LevelFail, f.Name, strings.Join(f.Told.Next, "; "), "%s", strings.Join(f.Told.Evidence, "; "))
	}
	switch same := f.Same; {
	case f.Pinned == "" || f.Checked.Cluster == "":
	case same != nil && same(f.Pinned, f.Checked.Cluster), f.Pinned == f.Checked.Cluster:
		r.ok("destination.cluster", f.Name, "cluster %s, as ever", f.Checked.Cluster)
	default:
		r.add("destination.cluster", relay.LevelFail, f.Name, "correct its addresses, or accept it: waybill destination adopt "+f.Name+" --reason R",
			"cluster %s answers; its name stands for %s", f.Checked.Cluster, f.Pinned)
	}
	effect, _ := checkOf("destination.check")
	for _, item := range f.Checked.Items {
		item.Subject = strings.TrimSpace(f.Name + " " + item.Subject)
		found := Finding{Area: Destination, Finding: item, Docs: docs}
		if item.Level == relay.LevelFail || item.Level == relay.LevelWarn {
			found.Effect = effect.Effect
		}
		r.found = append(r.found, found)
	}
	return r.found
}

// ConfigFacts are what reading the configuration said.
type ConfigFacts struct {
	Warnings, Secrets []Remark
	Routes            []string // what the route tests found
	Certificates      []Certificate
}

// Remark is about one key.
type Remark struct{ Key, Text string }

// JudgeConfig judges a configuration that is valid.
func JudgeConfig(f ConfigFacts) []Finding {
	r := report{}
	r.each("config.warning", "configuration", "nothing to remark", func() {
		for _, w := range f.Warnings {
			r.add("config.warning", relay.LevelWarn, w.Key, "waybill config check", "%s", w.Text)
		}
	})
	r.each("config.secret", "configuration", "every secret can be read", func() {
		for _, s := range f.Secrets {
			r.add("config.secret", relay.LevelFail, s.Key, "waybill config explain "+s.Key, "%s", s.Text)
		}
	})
	r.each("config.route", "routes", "messages go where the examples say", func() {
		for _, text := range f.Routes {
			r.add("config.route", relay.LevelFail, "routes", "waybill config check --offline", "%s", text)
		}
	})
	r.certificates(f.Certificates)
	return r.found
}
