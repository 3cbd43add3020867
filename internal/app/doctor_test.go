package app

import (
	"net"
	"slices"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/internal/doctor"
	"github.com/waybillmq/waybill/internal/testservices"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/relay"
)

// A broker that takes connections and never says a word costs the whole round less than ten seconds, and hides nothing else.
func TestDoctorBesideASilentBroker(t *testing.T) {
	database := testservices.Postgres(t, 18).URL
	if _, err := migrations.Up(t.Context(), database, migrations.Options{}); err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := config.Default()
	c.Name, c.Database.URL = "orders", config.SecretText(database)
	c.Dashboard.TokenFile = config.None[string]()
	d := config.NewDestination("silent", config.KindKafka)
	d.Kafka.Brokers = []string{silent.Addr().String()}
	c.Destinations = []config.Destination{d}
	c.Routes = []config.Route{{Name: "all", To: config.To{Destination: "silent", Topic: "{topic}"}, Retry: c.Retry, OnDead: "block"}}

	began := time.Now()
	found, err := Doctor(t.Context(), &config.Loaded{Config: c}, nil)
	took := time.Since(began)
	if err != nil || took > 10*time.Second {
		t.Errorf("it took %s: %v", took, err)
	}
	for id, level := range map[string]relay.Level{"kafka.reachable": relay.LevelFail, "relay.owner": relay.LevelFail, "database.trigger": relay.LevelOK, "database.disk": relay.LevelOK, "rights.producer": relay.LevelOK,
		"destination.state": relay.LevelUnseen, "config.secret": relay.LevelOK} {
		if !slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.ID == id && f.Level == level }) {
			t.Errorf("%s is not %s: %+v", id, level, found)
		}
	}

	began = time.Now()
	if found, err = Doctor(t.Context(), &config.Loaded{Config: c}, []doctor.Area{doctor.Database, doctor.Rights, doctor.Relay}); err != nil || time.Since(began) > 3*time.Second {
		t.Errorf("without brokers it took %s: %v", time.Since(began), err)
	}
	if slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Area == doctor.Destination || f.Area == doctor.Config }) {
		t.Errorf("areas that nobody asked for: %+v", found)
	}
}
