package group

import "time"

// Config are the bounds of a coordinator. The zero value of a field means its default.
type Config struct {
	MinSession, MaxSession time.Duration // of a member's session timeout; default 6 s and 30 min, as Kafka's
	FirstDelay             time.Duration // how long an empty group waits for more members; default 500 ms, negative = not at all
	NewMember              time.Duration // a member that waits in its first Join for longer has gone; default 5 min, as Kafka's
	Retention              time.Duration // offsets live so long behind their group's last member, or last commit; default 7 days

	Groups        int   // most groups; default 10,000
	Members       int   // most members of a group, with those that were given an id only; default 1,000
	Bytes         int64 // most bytes of members and offsets of all groups, as weighed here; default 64 MiB
	MetadataBytes int   // most bytes of the text beside an offset; default 4,096, as Kafka's
}

func (c Config) complete() Config {
	usual(&c.MinSession, 6*time.Second)
	usual(&c.MaxSession, 30*time.Minute)
	usual(&c.FirstDelay, 500*time.Millisecond)
	usual(&c.NewMember, 5*time.Minute)
	usual(&c.Retention, 7*24*time.Hour)
	usual(&c.Groups, 10_000)
	usual(&c.Members, 1_000)
	usual(&c.Bytes, 64<<20)
	usual(&c.MetadataBytes, 4_096)
	c.FirstDelay = max(0, c.FirstDelay)
	return c
}

func usual[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
