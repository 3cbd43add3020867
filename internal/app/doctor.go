package app

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/doctor"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/relay"
)

// doctorLimit bounds a whole round, with room to tell of it within ten seconds.
const doctorLimit = 9 * time.Second

// Doctor asks database, brokers and this machine, all at once and less than 10 s, and judges what they say. only bounds the areas; empty = all. The gravest
// findings come first. It changes nothing; an error is what a person must change about the configuration before anything can be asked.
func Doctor(ctx context.Context, l *config.Loaded, only []doctor.Area) ([]doctor.Finding, error) {
	people, err := OpenPeople(l.Config)
	if err != nil {
		return nil, err
	}
	defer people.Close()
	ctx, cancel := context.WithTimeout(ctx, doctorLimit)
	defer cancel()
	d := doctorRound{people: people, loaded: l, wants: func(a doctor.Area) bool { return len(only) == 0 || slices.Contains(only, a) }}
	d.overview = sync.OnceValues(func() (relay.Overview, error) { return people.Overview(ctx) })
	d.examine = sync.OnceValues(func() (x postgres.Examination, err error) {
		cfg, err := storeConfig(people.config)
		if err != nil {
			return x, err
		}
		cfg.StatementTimeout = doctorLimit / 2
		return postgres.Examine(ctx, cfg)
	})
	parts := make([][]doctor.Finding, 4)
	var wg sync.WaitGroup
	for i, part := range []func(context.Context) []doctor.Finding{d.config, d.database, d.relays, d.destinations} {
		wg.Go(func() { parts[i] = part(ctx) })
	}
	wg.Wait()
	found := slices.Concat(parts...)
	doctor.Sort(found)
	return found, nil
}

// doctor is Doctor for the pages of a relay, with its configuration as it was read at the start.
func (p *People) doctor(ctx context.Context) ([]doctor.Finding, error) {
	return Doctor(ctx, &config.Loaded{Config: p.config}, nil)
}

// doctorRound collects the facts of one round.
type doctorRound struct {
	people   *People
	loaded   *config.Loaded
	wants    func(doctor.Area) bool
	overview func() (relay.Overview, error)       // asked for once
	examine  func() (postgres.Examination, error) // likewise
}

func (d *doctorRound) config(context.Context) []doctor.Finding {
	if !d.wants(doctor.Config) {
		return nil
	}
	facts := doctor.ConfigFacts{Warnings: remarks(d.loaded.Warnings), Secrets: remarks(d.loaded.CheckSecrets()),
		Certificates: certificates(d.people.config, time.Now())}
	if len(facts.Secrets) == 0 {
		if err := checkWebhook(d.people.config); err != nil {
			facts.Secrets = append(facts.Secrets, doctor.Remark{Key: "alerts.webhook", Text: err.Error()})
		}
	}
	var err error
	if facts.Routes, err = CheckRoutes(d.loaded.Config); err != nil {
		facts.Routes = append(facts.Routes, err.Error())
	}
	return doctor.JudgeConfig(facts)
}

func remarks(problems config.Problems) (all []doctor.Remark) {
	for _, p := range problems {
		all = append(all, doctor.Remark{Key: p.Path, Text: p.Text})
	}
	return all
}

func (d *doctorRound) database(context.Context) (found []doctor.Finding) {
	if !d.wants(doctor.Database) && !d.wants(doctor.Rights) {
		return nil
	}
	x, err := d.examine()
	if err != nil {
		return doctor.JudgeUnreachable(err)
	}
	if d.wants(doctor.Database) {
		found = append(doctor.JudgeDatabase(x, migrations.Version), d.room(x)...)
	}
	if d.wants(doctor.Rights) {
		found = append(found, doctor.JudgeRights(x)...)
	}
	return found
}

// room looks at the disk of the database; without an outbox there is nothing that grows.
func (d *doctorRound) room(x postgres.Examination) []doctor.Finding {
	if x.Version.V == 0 {
		return nil
	}
	f := doctor.RoomFacts{Growth: x.Growth}
	f.Keep, _ = d.people.config.Retention.Sent.Get()
	if x.Growth.Err == nil {
		f.Free, f.Why = databaseRoom(x.Growth.V)
	}
	return doctor.JudgeRoom(f)
}

func (d *doctorRound) relays(context.Context) []doctor.Finding {
	if !d.wants(doctor.Relay) {
		return nil
	}
	c := d.people.config
	f := doctor.RelayFacts{Lease: c.Relay.Lease, Trust: c.Relay.Lease - c.Relay.WriteTimeout - c.Relay.TCPUserTimeout, Deadlines: publishDeadlines(c), OpenFiles: openFiles(),
		Files: d.files(), Folders: folders(c), Cache: cacheFolder(c)}
	if f.Cache != nil {
		if x, err := d.examine(); err == nil && x.Version.V > 0 && x.Growth.Err == nil {
			keep, _ := c.Retention.Sent.Get()
			f.Cache.Rate, _ = doctor.GrowthRate(x.Growth.V, keep)
		}
	}
	var o relay.Overview
	if o, f.Err = d.overview(); f.Err == nil {
		s, a := d.people.about(Question{}), Answer{}
		s.Overview = &o
		f.Owned = doctor.Told{Healthy: !s.whyOwner(&a), Evidence: a.Evidence, Next: a.Next}
		for _, r := range o.Relays {
			f.Instances = append(f.Instances, r.Instance)
		}
	}
	return doctor.JudgeRelay(f)
}

func (d *doctorRound) destinations(ctx context.Context) (found []doctor.Finding) {
	if !d.wants(doctor.Destination) {
		return nil
	}
	checked := CheckDestinations(ctx, d.people.config)
	o, err := d.overview()
	for i := range d.people.config.Destinations {
		dest := &d.people.config.Destinations[i]
		f := doctor.DestinationFacts{Name: dest.Name, Checked: checked[dest.Name], Same: sameCluster(dest.Kind), ToldErr: err}
		if err == nil {
			s, a := d.people.about(Question{}), Answer{}
			s.Overview = &o
			s.whyDestination(&a, dest.Name)
			_, by := o.Destination(dest.Name)
			if f.Paused = o.StoppedBy(dest.Name); f.Paused != nil {
				f.PausedFor = o.Now.Sub(f.Paused.At)
			}
			f.NoReport, f.Told = by == "", doctor.Told{Healthy: a.Verdict == "", Evidence: a.Evidence, Next: a.Next}
			var pinErr error // without an answer there is nothing to compare: the database's own checks say why
			if _, f.Pinned, pinErr = d.people.inspector.Pinned(ctx, dest.Name); pinErr != nil {
				f.Pinned = ""
			}
		}
		found = append(found, doctor.JudgeDestination(f)...)
	}
	return found
}

// publishDeadlines are those of the destinations that are reached through a network.
func publishDeadlines(c *config.Config) (all []doctor.Deadline) {
	for i := range c.Destinations {
		if d := &c.Destinations[i]; d.Kind != config.KindWaybillBroker {
			all = append(all, doctor.Deadline{Destination: d.Name, Publish: describe(c, d, hooks{}).PublishTimeout})
		}
	}
	return all
}

// openFiles is the hard limit: the Go runtime raises the soft one to it.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	return uint64(limit.Max)
}

// files are those that others must not read. A token file that is not there yet is made by the next start.
func (d *doctorRound) files() (all []doctor.File) {
	for _, s := range d.loaded.PrivateFiles() {
		all = append(all, fileFacts(s.Key, s.Path))
	}
	if token, ok := d.people.config.Dashboard.TokenFile.Get(); ok {
		if f := fileFacts("dashboard.token_file", token); !errors.Is(f.Err, os.ErrNotExist) {
			all = append(all, f)
		}
	}
	return all
}

func fileFacts(key, path string) doctor.File {
	info, err := os.Stat(path)
	if err != nil {
		return doctor.File{Key: key, Path: path, Err: err}
	}
	return doctor.File{Key: key, Path: path, Mode: info.Mode()}
}
