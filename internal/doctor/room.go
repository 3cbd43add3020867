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

// GrowthRate is how many bytes a second the messages that are there took on the disk, with their receipts and indexes; 0 = not known, and why.
func GrowthRate(g postgres.GrowthFacts) (rate float64, why string) {
	switch {
	case g.Age <= 0:
		return 0, "there is no message to go by"
	case g.Age < rateSpan:
		return 0, "the oldest message is " + long(g.Age) + " old, and an hour is needed"
	}
	return float64(g.Log) / g.Age.Seconds(), ""
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
	rate, why := GrowthRate(g)
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
	case g.Age < f.Keep && lasts < f.Keep-g.Age:
		level, left = relay.LevelWarn, left+", and retention.sent drops nothing for another "+long(f.Keep-g.Age)
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
