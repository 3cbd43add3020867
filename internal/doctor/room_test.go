package doctor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/adapters/postgres"
	"github.com/waybillmq/waybill/relay"
)

// 10 GiB came in the last ten days, so 1 GiB a day.
func TestRoom(t *testing.T) {
	const day, gib = 24 * time.Hour, int64(1) << 30
	well := func() RoomFacts {
		return RoomFacts{Growth: postgres.Seen[postgres.GrowthFacts]{V: postgres.GrowthFacts{Bytes: 11 * gib, Parts: []postgres.GrowthPart{{Bytes: 10 * gib, Age: 10 * day}}, Dir: "/pg/data"}}, Free: 500 * gib, Keep: 3 * day}
	}
	part := func(f *RoomFacts) *postgres.GrowthPart { return &f.Growth.V.Parts[0] }
	old := func(f *RoomFacts, parts ...postgres.GrowthPart) {
		f.Growth.V.Parts = append(parts, f.Growth.V.Parts...)
	}
	for name, c := range map[string]struct {
		change func(*RoomFacts)
		level  relay.Level
		text   string
	}{
		"well":             {func(*RoomFacts) {}, relay.LevelOK, "takes 11.0 GiB; 1.0 GiB a day are written; its disk has 500.0 GiB left, enough for 500 days while nothing can be dropped"},
		"three days":       {func(f *RoomFacts) { f.Free = 3 * gib }, relay.LevelOK, "enough for 3 days"},
		"less than three":  {func(f *RoomFacts) { f.Free = 3*gib - 1<<20 }, relay.LevelWarn, "enough for 2 days"},
		"less than one":    {func(f *RoomFacts) { part(f).Bytes, f.Free = 100*gib, 9*gib }, relay.LevelFail, "enough for 21 hours"},
		"nothing":          {func(f *RoomFacts) { f.Free = gib - 1 }, relay.LevelFail, "1023 MiB left"},
		"nothing, young":   {func(f *RoomFacts) { f.Free, part(f).Age = 0, time.Minute }, relay.LevelFail, "0 MiB left"},
		"still fills":      {func(f *RoomFacts) { f.Keep, f.Free = 20*day, 9*gib }, relay.LevelWarn, "drops nothing for another 10 days"},
		"fills and fits":   {func(f *RoomFacts) { f.Keep, f.Free = 20*day, 10*gib }, relay.LevelOK, "enough for 10 days"},
		"keeps for ever":   {func(f *RoomFacts) { f.Keep, f.Free = 0, 29*gib }, relay.LevelWarn, "retention.sent is none"},
		"ever, with room":  {func(f *RoomFacts) { f.Keep, f.Free = 0, 30*gib }, relay.LevelOK, "enough for 30 days"},
		"empty":            {func(f *RoomFacts) { f.Growth.V.Parts = nil }, relay.LevelOK, "how fast it grows is not known: there is no message to go by"},
		"young":            {func(f *RoomFacts) { part(f).Age = 59 * time.Minute }, relay.LevelOK, "not known: the oldest message to go by is 59 minutes old"},
		"an hour":          {func(f *RoomFacts) { part(f).Age, part(f).Bytes = time.Hour, 1<<20 }, relay.LevelOK, "24 MiB a day"},
		"room not known":   {func(f *RoomFacts) { f.Free, f.Why = -1, "it is elsewhere" }, relay.LevelUnseen, "1.0 GiB a day are written; the room on its disk is not known: it is elsewhere"},
		"growth not seen":  {func(f *RoomFacts) { f.Growth.Err = errors.New("permission denied") }, relay.LevelUnseen, "permission denied"},
		"neither is known": {func(f *RoomFacts) { f.Free, f.Why, f.Growth.V.Parts = -1, "it is elsewhere", nil }, relay.LevelUnseen, "grows is not known"},
		"one old and dead": {func(f *RoomFacts) { old(f, postgres.GrowthPart{Bytes: 1 << 20, Age: 100 * day}) }, relay.LevelOK, "1.0 GiB a day are written"},
		"old ones, many": {func(f *RoomFacts) {
			old(f, postgres.GrowthPart{Bytes: 9 * gib, Age: 90 * day}, postgres.GrowthPart{Bytes: 9 * gib, Age: 3 * day})
		}, relay.LevelOK, "1.0 GiB a day are written"},
		"several whole": {func(f *RoomFacts) {
			part(f).Age, f.Keep = day, 3*day
			old(f, postgres.GrowthPart{Bytes: gib, Age: 100 * day}, postgres.GrowthPart{Bytes: 2 * gib, Age: 3*day - 1})
		}, relay.LevelOK, "4.0 GiB a day are written"},
		"old and for ever": {func(f *RoomFacts) {
			f.Keep = 0
			old(f, postgres.GrowthPart{Bytes: 1 << 20, Age: 100 * day})
		}, relay.LevelOK, "102 MiB a day are written"},
		"old, and fills": {func(f *RoomFacts) {
			f.Keep, f.Free = 20*day, 9*gib
			old(f, postgres.GrowthPart{Bytes: 1 << 20, Age: 100 * day})
		}, relay.LevelWarn, "drops nothing for another 10 days"},
		"nothing is written": {func(f *RoomFacts) { part(f).Bytes = 1 }, relay.LevelOK,
			"enough for 36500 days"},
	} {
		f := well()
		c.change(&f)
		found := JudgeRoom(f)
		if len(found) != 1 || found[0].ID != "database.disk" || found[0].Level != c.level || !strings.Contains(found[0].Text, c.text) || (c.level == relay.LevelWarn || c.level == relay.LevelFail) != (found[0].Effect != "" && found[0].Fix != "") {
			t.Errorf("%s: %+v", name, found)
		}
	}
	f := well()
	f.Free = -1
	if fix := JudgeRoom(f)[0].Fix; !strings.HasSuffix(fix, "df -h /pg/data") {
		t.Errorf("where to look: %s", fix)
	}
}

// How long a broker may be down is told where the outbox says how much comes, and nowhere else.
func TestCacheForecast(t *testing.T) {
	c := CacheFolder{Folder: Folder{Free: 5 << 30}, MinFree: 1 << 30, Max: 4 << 30, Used: 1 << 30, Rate: 1 << 20}
	for want, change := range map[string]func(*CacheFolder){
		"it can take 3.0 GiB, about 51 minutes of what was written lately": func(*CacheFolder) {},
		"it can take 1.0 GiB, about 17 minutes of what was written lately": func(c *CacheFolder) { c.Free = 2 << 30 },
		"it can take 0 MiB, about 0s of what was written lately":           func(c *CacheFolder) { c.Used = 5 << 30 },
		"it can take 3.0 GiB, for how long is not known":                   func(c *CacheFolder) { c.Rate = 0 },
		"how much it can take is not known":                                func(c *CacheFolder) { c.Used = -1 },
	} {
		d := c
		change(&d)
		if got := d.forecast(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
