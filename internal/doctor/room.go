package doctor

import (
	"fmt"
	"time"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/relay"
)

// A forecast needs a while to look back on, and is worth a word when the room lasts for days only.
const (
	rateSpan    = time.Hour
	roomForever = 30 * 24 * time.Hour // without retention
	roomWarn    = 3 * 24 * time.Hour
	roomFail    = 24 * time.Hour
)

// RoomFacts are about the disk of the database. What is not known stays so: nothing is taken for likely.
type RoomFacts struct {
	Growth postgres.Seen[postgres.GrowthFacts]
	Free   int64         // bytes that the server may still write; below 0 = not known
	Why    string        // it is not known
	Keep   time.Duration // retention.sent; 0 = for ever
}

// written is what was written in the time that retention drops nothing of, and how long that is; 0 = nothing was. What lies further back is no measure: of a partition
// that an old dead message keeps there may be nothing else. The last one is never touched.
func written(g postgres.GrowthFacts, keep time.Duration) (size int64, age time.Duration) {
	for i, p := range g.Parts {
		if keep == 0 || p.Age < keep || i == len(g.Parts)-1 {
			size, age = size+p.Bytes, max(age, p.Age)
		}
	}
	return size, age
}

// GrowthRate is how many bytes a second the messages took on the disk, with their receipts and indexes, as long as none of them was dropped; 0 = not known, and why. keep
// is retention.sent, 0 = for ever.
func GrowthRate(g postgres.GrowthFacts, keep time.Duration) (rate float64, why string) {
	size, age := written(g, keep)
	switch {
	case age <= 0:
		return 0, "there is no message to go by"
	case age < rateSpan:
		return 0, "the oldest message to go by is " + long(age) + " old, and an hour is needed"
	}
	return float64(size) / age.Seconds(), ""
}

// JudgeRoom judges how long the room on the disk of the database lasts.
func JudgeRoom(f RoomFacts) []Finding {
	const id = "database.disk"
	r := report{}
	if f.Growth.Err != nil {
		r.unseen(id, "server", f.Growth.Err, "")
		return r.found
	}
	g := f.Growth.V
	rate, why := GrowthRate(g, f.Keep)
	_, age := written(g, f.Keep)
	takes := "the outbox takes " + bytes(g.Bytes)
	grows := fmt.Sprintf("%s a day are written", bytes(int64(rate*(24*time.Hour).Seconds())))
	if rate == 0 {
		grows = "how fast it grows is not known: " + why
	}
	if f.Free < 0 {
		r.add(id, relay.LevelUnseen, "server", "on the machine of the database: df -h "+orDataFolder(g.Dir), "%s; %s; the room on its disk is not known: %s", takes, grows, f.Why)
		return r.found
	}
	left := "its disk has " + bytes(f.Free) + " left"
	lasts := lasting(f.Free, rate)
	if rate > 0 {
		left += ", enough for " + long(lasts) + " while nothing can be dropped"
	}
	level := relay.LevelOK
	switch {
	case f.Free < lowRoom, lasts < roomFail:
		level = relay.LevelFail
	case lasts < roomWarn:
		level = relay.LevelWarn
	case f.Keep == 0 && lasts < roomForever:
		level, left = relay.LevelWarn, left+", and retention.sent is none"
	case age < f.Keep && lasts < f.Keep-age:
		level, left = relay.LevelWarn, left+", and retention.sent drops nothing for another "+long(f.Keep-age)
	}
	if level == relay.LevelOK {
		r.ok(id, "server", "%s; %s; %s", takes, grows, left)
	} else {
		r.add(id, level, "server", "make room on the disk of the database, or shorten retention.sent; what is dead or pending keeps its partition: waybill message list state:dead", "%s; %s; %s", takes, grows, left)
	}
	return r.found
}

func orDataFolder(dir string) string {
	if dir == "" {
		return `"$(psql -Atc 'SHOW data_directory')"`
	}
	return dir
}

// lasting is how long so many bytes last. A hundred years are for ever.
func lasting(free int64, rate float64) time.Duration {
	const ever = 100 * 365 * 24 * time.Hour
	if rate <= 0 || float64(free)/rate > ever.Seconds() {
		return ever
	}
	return time.Duration(float64(free) / rate * float64(time.Second))
}

// bytes writes a size for people.
func bytes(n int64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%d MiB", n>>20)
}
