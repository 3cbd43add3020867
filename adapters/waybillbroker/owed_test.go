package waybillbroker

import (
	"testing"

	"github.com/waybillmq/waybill/relay"
)

func TestOwed(t *testing.T) {
	o := owed{in: map[relay.ID]ledgers{}}
	a, b := &partition{index: 1}, &partition{index: 2}
	o.add(7, a)
	o.add(7, b)
	o.add(7, a)
	o.add(7, b)
	o.add(8, b)
	if l := o.settled(7); l.first != a || len(l.more) != 1 || l.more[0] != b {
		t.Errorf("%+v", l)
	}
	if l := o.settled(7); l.first != nil || len(o.in) != 1 {
		t.Errorf("again: %+v, %d left", l, len(o.in))
	}
}
