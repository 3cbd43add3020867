package rabbitmq

import (
	"testing"

	"github.com/waybillmq/waybill/relay"
)

func check(t *testing.T, p *Publisher) relay.Findings {
	t.Helper()
	f, err := p.Check(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func wantLevel(t *testing.T, f relay.Findings, id, subject string, level relay.Level) {
	t.Helper()
	for _, x := range f.Items {
		if x.ID == id && x.Subject == subject {
			if x.Level != level || x.Text == "" || (level == relay.LevelFail || level == relay.LevelWarn) && x.Fix == "" {
				t.Errorf("%+v, want %s", x, level)
			}
			return
		}
	}
	t.Errorf("no finding %s about %s", id, subject)
}
