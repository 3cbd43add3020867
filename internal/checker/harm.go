package checker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Harm is what happens to the folder of a degraded cache.
type Harm string

// The harms.
const (
	Remove Harm = "remove" // all of it
	Flip   Harm = "flip"   // bits, where messages stand and anywhere
	Cut    Harm = "cut"    // files end in front of messages
	Fill   Harm = "fill"   // more comes than it takes
	Keep   Harm = "keep"   // nothing: it is opened again as it was left
)

// manner is a harm, and whether the relay is dead meanwhile.
type manner struct {
	harm Harm
	dead bool
}

var manners = []manner{{Keep, true}, {Flip, false}, {Cut, true}, {Cut, false}, {Remove, true}, {Fill, false}, {Remove, false}, {Flip, true}}

func (m manner) String() string {
	if m.dead {
		return string(m.harm) + " dead"
	}
	return string(m.harm)
}

const (
	cacheBytes = 64 << 20                // cache.max_bytes of every relay: the least there is
	fullBytes  = cacheBytes / 4 * 3      // of the log: from there on the cache refuses messages
	leastHeld  = 20                      // messages that a cache must hold to be worth harming
	fillTime   = 20 * time.Second        // for a cache to hold so many, or to be full
	floodCount = cacheBytes / floodBytes // messages, that is more than fit
)

// harmCache takes the broker away until the cache of the owner holds messages that came since, and harms that cache.
func (w *world) harmCache(ctx context.Context, f *Fault) error {
	o := w.find(f.Outbox)
	o.turn.Lock() // nobody else changes its owner meanwhile
	defer o.turn.Unlock()
	if err := o.calm(ctx); err != nil {
		return err
	}
	f.At = time.Now()
	if err := w.broker.real.Kill(); err != nil {
		return err
	}
	err := w.harmOwner(ctx, f, o, o.producer.tokens.Load())
	wait(ctx, time.Second+f.Pause) // so that the relay meets it before it can send
	return errors.Join(err, w.broker.real.Start())
}

const (
	calmCount = 50               // messages that may be pending: with more a lane may still go on from the table, and a lane that does so fills no cache
	calmTime  = 90 * time.Second // for what an outage has left
)

// calm waits until the owner has sent what there was and has a cache. One whose folder was removed is asked to stop: it has none for as long as it owns the outbox.
func (o *outboxRun) calm(ctx context.Context) error {
	asked := int64(0)
	for end := time.Now().Add(calmTime); time.Now().Before(end) && wait(ctx, 50*time.Millisecond); {
		s, epoch, err := o.owner(ctx)
		if err != nil {
			return err
		}
		var sent bool
		if err := o.ask(ctx, `SELECT count(*) < $1 AND (SELECT coalesce(max(epoch), 0) = $2 FROM outbox.receipts) FROM outbox.message_pending`, []any{calmCount, epoch}, &sent); err != nil {
			return err
		}
		if !sent || epoch == asked {
			continue
		}
		if _, err = os.Stat(filepath.Join(s.cache, identityFile)); err == nil {
			return nil
		}
		asked = epoch
		if _, err := o.relays.signal(s, syscall.SIGTERM); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s had no owner with a cache and nothing to send for %s", o.name, calmTime)
}

func (w *world) harmOwner(ctx context.Context, f *Fault, o *outboxRun, since int64) error {
	s, epoch, err := o.holder(ctx, since)
	if err != nil {
		return err
	}
	f.InFlight = o.inFlight(ctx)
	r := rand.New(rand.NewPCG(w.plan.Seed, uint64(f.N)))
	harm := func() error {
		found, err := findCached(s.cache, o.producer.run, since)
		if err == nil && count(found) < leastHeld {
			err = fmt.Errorf("%s held %d messages", s.cache, count(found))
		}
		if err == nil {
			f.Proof, err = f.Harm.apply(r, s.cache, found)
		}
		return err
	}
	switch {
	case f.Harm == Fill:
		f.Proof, err = o.fill(ctx, r, s)
	case f.Dead:
		err = w.whileDead(ctx, f, o, s, harm)
	default:
		err = harm()
	}
	if err == nil && !f.Dead {
		err = o.stillOwns(ctx, epoch)
	}
	f.Effect = err == nil
	return err
}

// holder waits until the owner's cache holds enough messages that came after a token, which no broker can have taken, and returns its slot and epoch.
func (o *outboxRun) holder(ctx context.Context, since int64) (s *slot, epoch int64, err error) {
	held := 0
	for end := time.Now().Add(fillTime); time.Now().Before(end) && wait(ctx, 100*time.Millisecond); {
		if s, epoch, err = o.owner(ctx); err != nil {
			return nil, 0, err
		}
		found, err := findCached(s.cache, o.producer.run, since)
		if err != nil {
			return nil, 0, err
		}
		if held = count(found); held >= leastHeld {
			return s, epoch, o.stillOwns(ctx, epoch)
		}
	}
	return nil, 0, fmt.Errorf("the cache of %s held %d messages after %s", o.name, held, fillTime)
}

func (o *outboxRun) stillOwns(ctx context.Context, epoch int64) error {
	_, now, err := o.owner(ctx)
	if err == nil && now != epoch {
		err = fmt.Errorf("the owner of epoch %d was gone before its cache was harmed", epoch)
	}
	return err
}

// whileDead kills a relay, harms what it leaves, and makes it the owner again by killing the others: only an owner opens its cache, and says so in a new identity.
func (w *world) whileDead(ctx context.Context, f *Fault, o *outboxRun, s *slot, harm func() error) error {
	done := make(chan error, 1)
	o.relays.beforeNext(s, func() { done <- harm() })
	if _, err := o.relays.signal(s, syscall.SIGKILL); err != nil {
		return err
	}
	if err := <-done; err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < healTime && wait(ctx, 10*time.Millisecond); {
		now, later, err := o.owner(ctx)
		if err != nil {
			return err
		}
		if info, err := os.Stat(filepath.Join(s.cache, identityFile)); err == nil && now == s && info.ModTime().After(began) {
			f.Proof += fmt.Sprintf(", opened again in epoch %d", later)
			return nil
		}
		if err := w.push(ctx, f, o, s); err != nil {
			return err
		}
	}
	return errors.New("that relay did not open it again")
}

// fill writes more than a cache takes.
func (o *outboxRun) fill(ctx context.Context, r *rand.Rand, s *slot) (proof string, err error) {
	var size int64
	full := func() bool {
		size, err = logBytes(s.cache)
		return err != nil || size > fullBytes
	}
	written, failed := o.producer.flood(ctx, r, full)
	for end := time.Now().Add(fillTime); failed == nil && !full() && time.Now().Before(end) && wait(ctx, 50*time.Millisecond); {
	}
	if err = errors.Join(failed, err); err == nil && !full() {
		err = fmt.Errorf("its log took %d MiB after %d messages", size>>20, written)
	}
	return fmt.Sprintf("its log takes %d of %d MiB after %d large messages", size>>20, cacheBytes>>20, written), err
}

// logBytes is the length of the log of a cache.
func logBytes(cache string) (size int64, err error) {
	names, err := filepath.Glob(filepath.Join(cache, logFiles))
	for _, name := range names {
		info, err := os.Stat(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // released meanwhile
		}
		if err != nil {
			return 0, err
		}
		size += info.Size()
	}
	return size, err
}
