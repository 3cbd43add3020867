package group

import (
	"cmp"
	"time"
)

// Config are the bounds of a coordinator. The zero value of a field means its default.
type Config struct {
	MinSession, MaxSession time.Duration // of a member's session timeout; default 6 s and 30 min, as Kafka's
	FirstDelay             time.Duration // how long an empty group waits for more members; default 500 ms, negative = not at all
	NewMember              time.Duration // a member that waits in its first Join for longer has gone; default 5 min, as Kafka's
	Retention              time.Duration // offsets live so long behind their group's last member, or last commit; default 7 days

	Groups        int   // most groups; default 10,000
	Members       int   // most members of a group, with those that were given an id only; default 1,000
	Bytes         int64 // most bytes of all groups, with their members, offsets and the ids that were given out, as weighed here; default 64 MiB
	MetadataBytes int   // most bytes of the text beside an offset; default 4,096, as Kafka's
}

func (c Config) complete() Config {
	c.MinSession = cmp.Or(c.MinSession, 6*time.Second)
	c.MaxSession = cmp.Or(c.MaxSession, 30*time.Minute)
	c.FirstDelay = max(0, cmp.Or(c.FirstDelay, 500*time.Millisecond))
	c.NewMember = cmp.Or(c.NewMember, 5*time.Minute)
	c.Retention = cmp.Or(c.Retention, 7*24*time.Hour)
	c.Groups = cmp.Or(c.Groups, 10_000)
	c.Members = cmp.Or(c.Members, 1_000)
	c.Bytes = cmp.Or(c.Bytes, 64<<20)
	c.MetadataBytes = cmp.Or(c.MetadataBytes, 4_096)
	return c
}
