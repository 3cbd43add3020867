package fsm

import (
	"bytes"
	"errors"
	"testing"
)

// The bytes of a log that lies on disks do not change.
func TestMetaCommandBytes(t *testing.T) {
	for _, c := range []struct{ got, want []byte }{
		{(&InitRequest{UUID{0xc1}, 6}).Append(nil), unhex("c1000000000000000000000000000000 0600")},
		{(&CreateTopicRequest{"a.b", UUID{2}, 12, 604_800_000, RetentionUnlimited}).Append(nil),
			unhex("02000000000000000000000000000000 0c000000 00840c2400000000 ffffffffffffffff 612e62")},
		{(&DeleteTopicRequest{"a.b"}).Append([]byte{9}), unhex("09 612e62")},
		{(&AlterRetentionRequest{"a.b", RetentionKept, 1}).Append(nil), unhex("feffffffffffffff 0100000000000000 612e62")},
		{[]byte{byte(CommandInit), byte(CommandCreateTopic), byte(CommandDeleteTopic), byte(CommandAlterRetention), byte(CommandProducerIDs)}, unhex("20 21 22 23 24")},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%x, want %x", c.got, c.want)
		}
	}
}

func FuzzParseMeta(f *testing.F) {
	for _, c := range []Command{initial(3), created("a", 1, 2), deleted("a"), altered("a", 1, 2)} {
		f.Add(byte(c.Type), c.Body)
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		same := func(again []byte, err error) {
			if err == nil && !bytes.Equal(again, b) || err != nil && !errors.Is(err, ErrEntry) {
				t.Errorf("%x encoded again is %x, %v", b, again, err)
			}
		}
		i, err := ParseInit(b)
		same(i.Append(nil), err)
		c, err := ParseCreateTopic(b)
		same(c.Append(nil), err)
		d, err := ParseDeleteTopic(b)
		same(d.Append(nil), err)
		a, err := ParseAlterRetention(b)
		same(a.Append(nil), err)
		m, apply := founded(t, 3)
		apply(created("a", 1, 2))
		apply(Command{Type: CommandType(kind), Body: b})
		restoredMeta(t, m)
	})
}
