package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

const smallest = `version: 1
name: orders
database: { url: { env: WAYBILL_DATABASE_URL } }
destinations:
  kafka-a: { kind: kafka, brokers: ["localhost:9092"] }
routes:
  - { name: all, to: { destination: kafka-a } }
`

func TestSmallest(t *testing.T) {
	got, err := Parse("config.yaml", []byte(smallest), Options{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Name = "orders"
	want.Database.URL = SecretEnv("WAYBILL_DATABASE_URL")
	want.Destinations = []Destination{NewDestination("kafka-a", "kafka")}
	want.Destinations[0].Kafka.Brokers = []string{"localhost:9092"}
	r := Route{Name: "all"}
	r.inherit(want)
	r.To.Destination = "kafka-a"
	want.Routes = []Route{r}
	if !reflect.DeepEqual(got.Config, want) {
		t.Errorf("got  %+v\nwant %+v", got.Config, want)
	}
}

// The checked-in file is the reference: it names every key, and shows defaults wherever there is one.
func TestSampleEqualsDefaults(t *testing.T) {
	text, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse("config.yaml", text, Options{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	given := map[[2]string]bool{} // kind of destination, path
	for path := range got.origins {
		kind := ""
		for _, d := range got.Destinations {
			if strings.HasPrefix(path, "destinations."+d.Name+".") && !strings.HasSuffix(path, ".kind") {
				kind = d.Kind
			}
		}
		given[[2]string{kind, genericPath(path)}] = true
	}
	for _, k := range Keys() {
		if !given[[2]string{k.Kind, k.Path}] {
			t.Errorf("config.yaml lacks %s %s", k.Kind, k.Path)
		}
	}
	want := Default()
	want.Name, want.Database.URL = got.Name, got.Database.URL
	want.Destinations, want.Routes, want.RouteTests = got.Destinations, got.Routes, got.RouteTests
	if !reflect.DeepEqual(got.Config, want) {
		t.Errorf("config.yaml differs from the defaults:\ngot  %+v\nwant %+v", got.Config, want)
	}
	for _, d := range got.Destinations {
		plain := NewDestination(d.Name, d.Kind)
		plain.Kafka.Brokers, plain.RocketMQ.NameServers, plain.RabbitMQ.Hosts = d.Kafka.Brokers, d.RocketMQ.NameServers, d.RabbitMQ.Hosts
		plain.RabbitMQ.Credentials, plain.RabbitMQ.TLS.Enabled = d.RabbitMQ.Credentials, d.RabbitMQ.TLS.Enabled // the sample shows them in use
		if !reflect.DeepEqual(d, plain) {
			t.Errorf("destination %s differs from the defaults:\ngot  %+v\nwant %+v", d.Name, d, plain)
		}
	}
}

func TestTagsAreSound(t *testing.T) {
	parse := map[reflect.Type]func(string) error{
		reflect.TypeFor[time.Duration](): func(s string) error { _, err := ParseDuration(s); return err },
		reflect.TypeFor[Size]():          func(s string) error { _, err := ParseSize(s); return err },
		reflect.TypeFor[Rate]():          func(s string) error { _, err := ParseRate(s); return err },
	}
	for _, k := range Keys() {
		if k.Help == "" {
			t.Errorf("%s has no help", k.Path)
		}
	}
	var walk func(rt reflect.Type, path string)
	walk = func(rt reflect.Type, path string) {
		for _, f := range fieldsOf(rt) {
			ft := rt.FieldByIndex(f.index).Type
			if o, ok := reflect.New(ft).Interface().(noneable); ok {
				ft = o.element()
			}
			if p := parse[ft]; p != nil {
				if p(f.tag.Get("min")) != nil || p(f.tag.Get("max")) != nil {
					t.Errorf("%s: range %q to %q does not parse", join(path, f.key), f.tag.Get("min"), f.tag.Get("max"))
				}
			} else if ft.Kind() == reflect.Struct {
				walk(ft, join(path, f.key))
			}
		}
	}
	walk(reflect.TypeFor[Config](), "")
}

func TestProblems(t *testing.T) {
	with := func(extra string) string { return smallest + extra }
	kind := func(kind, keys string) string {
		return strings.Replace(smallest, `kind: kafka, brokers: ["localhost:9092"]`, "kind: "+kind+", "+keys, 1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"webhook without": {with("alerts: { webhook: { url: { env: HOOK } } }\n"), "alerts.webhook.secret: is missing"},
		"unknown rule":    {with("alerts: { rules: [stuck, audit] }\n"), "alerts.rules"},
		"public url":      {with("dashboard: { public_url: \"https://ops.example/x\" }\n"), "dashboard.public_url: is no address of the dashboard"},
		"unknown key":     {with("relays: {}\n"), `config.yaml:8:1: relays: unknown key, did you mean "relay"?`},
		"nested":          {strings.Replace(smallest, "brokers:", "broker:", 1), `config.yaml:5:27: destinations.kafka-a.broker: unknown key, did you mean "brokers"?`},
		"duplicate":       {with("name: again\n"), "config.yaml:8:1: name: the key is here twice; first in line 2"},
		"wrong type":      {with("relay: { read: { batch: many } }\n"), "config.yaml:8:25: relay.read.batch: expected a whole number, got text"},
		"not a block":     {with("relay: 5\n"), "config.yaml:8:8: relay: expected keys and values, got the number 5"},
		"no unit":         {with("relay: { lease: 30 }\n"), `config.yaml:8:17: relay.lease: "30" has no unit; write it like 500ms, 30s, 5m, 24h or 7d`},
		"wrong unit":      {with("relay: { read: { ahead_bytes: 64MB } }\n"), `"64MB": "MB" is no unit here; the units are B KiB MiB GiB`},
		"out of range":    {with("relay: { stuck_after: 1ms }\n"), "config.yaml:8:23: relay.stuck_after: 1ms is out of range: 1s to 30d"},
		"zero":            {with("retry: { max_attempts: 0 }\n"), "retry.max_attempts: 0 is out of range: 1 to 1000000"},
		"quotes":          {with("on_dead: no\n"), `on_dead: "no" is none of block, skip`},
		"bool":            {with("relay: { write_limits: 1 }\n"), "relay.write_limits: expected true or false, got the number 1"},
		"number as text":  {strings.Replace(smallest, "name: orders", "name: 17", 1), "config.yaml:2:7: name: expected text, got the number 17; put it in quotes"},
		"null":            {with("relay: { lease: null }\n"), "relay.lease: expected a duration like 500ms, 30s, 5m or 24h, got null"},
		"name":            {strings.Replace(smallest, "name: orders", "name: Orders", 1), `config.yaml:2:7: name: "Orders" is no name here`},
		"destination":     {strings.Replace(smallest, "destination: kafka-a", "destination: kafka-b", 1), `routes[0].to.destination: there is no destination "kafka-b", did you mean "kafka-a"?`},
		"template":        {strings.Replace(smallest, "destination: kafka-a", `destination: kafka-a, topic: "{tpic}"`, 1), `routes[0].to.topic: "{tpic}": {tpic} stands for nothing`},
		"lease":           {with("relay: { lease: 10s }\n"), "config.yaml:8:17: relay.lease: 10s is too short: it must be at least 1.5 × (write_timeout + tcp_user_timeout) = 15s"},
		"quarantine":      {with("relay: { quarantine: 9s }\n"), "relay.quarantine: 9s is too short: it must be at least write_timeout + tcp_user_timeout = 10s"},
		"list":            {strings.Replace(smallest, "[\"localhost:9092\"]", "localhost:9092", 1), "destinations.kafka-a.brokers: expected a list, got text"},
		"address":         {strings.Replace(smallest, "localhost:9092", "localhost", 1), `destinations.kafka-a.brokers[0]: "localhost" is no address: write host:port`},
		"missing":         {"version: 1\nname: a\n", "config.yaml:1:1: database.url: is missing"},
		"alias":           {with("retry: &r {}\n"), "retry: anchors and aliases are not read here"},
		"second document": {with("---\nname: b\n"), "a second document begins here"},
		"not yaml":        {"a: [\n", "this is no YAML"},
		"no brokers":      {strings.Replace(smallest, `, brokers: ["localhost:9092"]`, "", 1), "config.yaml:5:12: destinations.kafka-a.brokers: is missing"},
		"no bundled":      {strings.Replace(smallest, `kafka, brokers: ["localhost:9092"]`, "waybillbroker", 1), "destinations.kafka-a.kind: the bundled broker does not run in this process"},
		"bundled brokers": {strings.Replace(smallest, "kind: kafka", "kind: waybillbroker", 1) + "broker: { enabled: true }\n", "config.yaml:5:35: destinations.kafka-a.brokers: is a key of kind kafka, not of waybillbroker"},
		"no hosts":        {kind("rabbitmq", ""), "destinations.kafka-a.hosts: is missing: host:port of the nodes"},
		"no kind":         {strings.Replace(smallest, "kafka, brokers", "kafak, brokers", 1), `kind: "kafak" is none of kafka, rocketmq, rabbitmq, waybillbroker`},
		"rocketmq tls":    {kind("rocketmq", `name_servers: ["n:1"], tls: { enabled: true }`), "tls: is a key of kind kafka and rabbitmq, not of rocketmq: its client library has no TLS. Leave tls out"},
		"batch of halves": {kind("rocketmq", `name_servers: ["n:1"], transactional: true, batch: { max_messages: 50 }`), "batch.max_messages: is not used: transactional: true"},
		"half a login":    {kind("rocketmq", `name_servers: ["n:1"], credentials: { access_key: { env: A } }`), "credentials.secret_key: is missing: access_key stands alone"},
		"plain sasl":      {kind("kafka", `brokers: ["b:1"], sasl: { mechanism: plain, username: { env: U }, password: { env: P } }`), "sasl.mechanism: plain sends the password as it is"},
		"no login":        {kind("kafka", `brokers: ["b:1"], sasl: { mechanism: scram-sha-256 }`), "sasl: scram-sha-256 needs username and password"},
		"unused login":    {kind("kafka", `brokers: ["b:1"], sasl: { username: { env: U }, password: { env: P } }`), "sasl.mechanism: is none, so the username is not used"},
		"unused tls":      {kind("rabbitmq", `hosts: ["h:1"], tls: { ca: /ca.pem }`), "tls.enabled: is false, so the other keys of tls are not used"},
		"half a pair":     {kind("rabbitmq", `hosts: ["h:1"], tls: { enabled: true, cert: /c.pem }`), "tls.key: is missing: cert stands alone"},
		"rabbit topic":    {strings.Replace(kind("rabbitmq", `hosts: ["h:1"]`), "destination: kafka-a", "destination: kafka-a, topic: t", 1), "to.topic: kafka-a is a RabbitMQ, which has no topics"},
		"kafka exchange":  {strings.Replace(smallest, "destination: kafka-a", "destination: kafka-a, exchange: e", 1), "to.exchange: kafka-a is no RabbitMQ: write topic"},
		"routing key":     {strings.Replace(kind("rabbitmq", `hosts: ["h:1"]`), "destination: kafka-a", `destination: kafka-a, routing_key: "{x}"`, 1), `to.routing_key: "{x}": {x} stands for nothing`},
		"replace":         {strings.Replace(smallest, "name: all", `name: all, topic_replace: "._"`, 1), `routes[0].topic_replace: "._" is no list of pairs`},
		"event source":    {strings.Replace(smallest, "name: all", "name: all, cloudevents: { mode: binary }", 1), "routes[0].cloudevents.source: is missing: a CloudEvent says where it comes from"},
		"event mode":      {strings.Replace(smallest, "name: all", "name: all, cloudevents: { source: /s }", 1), "routes[0].cloudevents.mode: is none, so source is not used"},
		"open dashboard":  {with("dashboard: { listen: \"0.0.0.0:8088\" }\n"), `config.yaml:8:22: dashboard.listen: "0.0.0.0:8088" is not a loopback address`},
		"names alone":     {with("dashboard: { listen: \"0.0.0.0:8088\", auth: { tokens: { bot: { env: A } } } }\n"), `"0.0.0.0:8088" is not a loopback address`},
		"tls alone":       {with("dashboard: { listen: \"[::]:8088\", tls: { cert: /c, key: /k } }\n"), `"[::]:8088" is not a loopback address`},
		"half a cert":     {with("dashboard: { tls: { cert: /c } }\n"), "dashboard.tls.key: is missing: cert stands alone"},
		"half a key":      {with("dashboard: { tls: { key: /k } }\n"), "dashboard.tls.cert: is missing: key stands alone"},
		"dashboard name":  {with("dashboard: { listen: \"ops.example:8088\" }\n"), `"ops.example:8088" is not a loopback address`},
		"dashboard port":  {with("dashboard: { listen: \"127.0.0.1\" }\n"), `"127.0.0.1" is no address: write host:port`},
		"allowed host":    {with("dashboard: { allowed_hosts: [ops.example, \"*.example\"] }\n"), `dashboard.allowed_hosts[1]: "*.example" is no host name`},
		"person":          {with("dashboard: { auth: { tokens: { \"two words\": { env: A } } } }\n"), `"two words" is no name here: 1 to 40 letters`},
		"nobody's role":   {with("dashboard: { auth: { tokens: { deploy: { env: A } } }, roles: { operator: { names: [deply] } } }\n"), `dashboard.roles.operator.names[0]: there is no "deply" in dashboard.auth, did you mean "deploy"?`},
		"role of nobody":  {with("dashboard: { roles: { viewer: { names: [\"a b\"] } } }\n"), `dashboard.roles.viewer.names[0]: "a b" is no name here`},
		"empty topic":     {with("dashboard: { roles: { payload: { topics: [\"\"] } } }\n"), "dashboard.roles.payload.topics[0]: is empty"},
		"proxy, nobody":   {with("dashboard: { auth: { proxy: { user_header: X-User } } }\n"), "dashboard.auth.proxy.trusted: is empty: whoever sends the header would be believed"},
		"proxy, listen":   {with("dashboard: { listen: \"0.0.0.0:8088\", auth: { proxy: { user_header: X-User } } }\n"), `"0.0.0.0:8088" is not a loopback address`},
		"proxy, all":      {with("dashboard: { auth: { proxy: { user_header: X-User, trusted: [10.0.0.7, \"0.0.0.0/0\"] } } }\n"), `dashboard.auth.proxy.trusted[1]: "0.0.0.0/0" is too wide: whoever has one of its addresses could say that he is anybody`},
		"proxy, half":     {with("dashboard: { auth: { proxy: { user_header: X-User, trusted: [\"128.0.0.0/1\"] } } }\n"), `dashboard.auth.proxy.trusted[0]: "128.0.0.0/1" is too wide: whoever has one of its addresses could say that he is anybody; name those that only the proxy has, /16 at the widest`},
		"proxy, site":     {with("dashboard: { auth: { proxy: { user_header: X-User, trusted: [\"fd00::/47\"] } } }\n"), `"fd00::/47" is too wide: whoever has one of its addresses could say that he is anybody; name those that only the proxy has, /48 at the widest`},
		"proxy, no name":  {with("dashboard: { auth: { proxy: { trusted: [10.0.0.7] } } }\n"), "dashboard.auth.proxy.user_header: is missing"},
		"proxy, cookie":   {with("dashboard: { auth: { proxy: { user_header: Cookie, trusted: [10.0.0.7] } } }\n"), `dashboard.auth.proxy.user_header: "Cookie" is no header for this`},
		"proxy, header":   {with("dashboard: { auth: { proxy: { user_header: \"X User\", trusted: [10.0.0.7] } } }\n"), `"X User" is no header for this`},
		"proxy, browser":  {with("dashboard: { auth: { proxy: { user_header: X-User, role_header: Sec-Fetch-User, trusted: [10.0.0.7] } } }\n"), `"Sec-Fetch-User" is no header for this`},
		"proxy, one":      {with("dashboard: { auth: { proxy: { user_header: X-User, role_header: x-user, trusted: [10.0.0.7] } } }\n"), "is the same as user_header"},
		"path":            {with("privacy: { masks: [{ json_paths: [\"$..email\", \"email\"] }] }\n"), `privacy.masks[0].json_paths[1]: "email" is no path: it begins with $`},
		"empty mask":      {with("privacy: { masks: [{ topics: [mail] }] }\n"), "privacy.masks[0]: hides nothing"},
		"masked nowhere":  {with("privacy: { masks: [{ topics: [], headers: [a] }] }\n"), "privacy.masks[0]: hides nothing"},
		"no header":       {with("privacy: { masks: [{ headers: [\"\"] }] }\n"), "privacy.masks[0].headers[0]: is empty"},
		"no token file":   {with("dashboard: { token_file: \"\" }\n"), "dashboard.token_file: is empty: name a file"},
		"two routes":      {with("  - { name: all, to: { destination: kafka-a } }\n"), `routes[1].name: "all" is the name of another route`},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "missing" {
				c.text += "database: {}\n"
				c.want = "config.yaml:3:11: database.url: is missing"
			}
			_, err := Parse("config.yaml", []byte(c.text), Options{})
			var ps Problems
			if !errors.As(err, &ps) {
				t.Fatalf("got %v, want problems", err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %s\nwant %s", err, c.want)
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	_, err := Parse("config.yaml", []byte("name: A\nrelay: { lease: 5, batch: 3 }\nlogs: { level: loud }\n"), Options{})
	var ps Problems
	if !errors.As(err, &ps) {
		t.Fatal(err)
	}
	var paths []string
	for _, p := range ps.Errors() {
		paths = append(paths, p.Path)
	}
	want := "version destinations routes name relay.lease relay.batch logs.level"
	got := strings.Join(paths, " ")
	for _, p := range strings.Fields(want + " database.url") {
		if p == "database.url" {
			continue // database itself is missing: its keys are not listed one by one
		}
		if !strings.Contains(got, p) {
			t.Errorf("%s is not reported: %s", p, got)
		}
	}
}

func TestWarnings(t *testing.T) {
	text := strings.Replace(smallest, "{ env: WAYBILL_DATABASE_URL }", "postgres://u:pw-canary@h/db", 1)
	text = strings.Replace(text, "routes:\n", "  kafka-b: { kind: kafka, brokers: [\"b:1\"] }\nroutes:\n  - { name: eu, match: { topic: \"p*\", headers: { r: eu } }, to: { destination: kafka-b } }\n", 1)
	got, err := Parse("config.yaml", []byte(text+"  - { name: late, to: { destination: kafka-a } }\n"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	all := got.Warnings.Error()
	for _, want := range []string{"database.url: the secret stands in the file as plain text", "headers can send messages of one key", "routes[2]: is never reached"} {
		if !strings.Contains(all, want) {
			t.Errorf("no warning %q in:\n%s", want, all)
		}
	}
	if strings.Contains(all, "canary") {
		t.Error("the secret is in a warning")
	}
	if _, err := Parse("config.yaml", []byte(text), Options{Strict: true}); err == nil {
		t.Error("strict takes warnings")
	}
}

// A proxy in front is enough for an address that others reach; one on this machine is warned of.
func TestProxyInFront(t *testing.T) {
	const proxied = "dashboard: { listen: \"%s:8088\", auth: { proxy: { user_header: X-Forwarded-User, role_header: X-Forwarded-Role, trusted: [%s] } }, roles: { operator: { names: [ana] } } }\n"
	for _, c := range []struct {
		listen, trusted string
		warned          bool
	}{{"0.0.0.0", "10.0.0.7", false}, {"10.0.0.1", "10.0.7.0/28, \"fd00::7\"", false}, {"127.0.0.1", "127.0.0.1", true}, {"127.0.0.1", "127.0.0.2", true}, {"127.0.0.1", "\"::1/128\"", true},
		{"127.0.0.1", "127.0.0.0/8", true}, {"10.0.0.1", "10.0.0.0/16, \"fd00::/48\"", false}} {
		got, err := Parse("config.yaml", []byte(smallest+fmt.Sprintf(proxied, c.listen, c.trusted)), Options{})
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		if warned := strings.Contains(got.Warnings.Error(), "can say that it is anybody"); warned != c.warned || !got.Dashboard.Auth.Named() {
			t.Errorf("%+v: %v", c, got.Warnings)
		}
	}
	for text, want := range map[string]string{"10.0.0.7": "10.0.0.7/32", "::ffff:10.0.0.7": "10.0.0.7/32", "10.0.7.9/28": "10.0.7.0/28", "fd00::7": "fd00::7/128", "fe80::1%eth0": "", "::ffff:10.0.0.0/100": "", "::/0": "",
		"ops.example": "", "": "", "10.0.0.7:80": "",
		"10.0.0.0/16": "10.0.0.0/16", "10.0.0.0/15": "", "0.0.0.0/1": "", "126.0.0.0/7": "", "127.0.0.0/8": "127.0.0.0/8", "127.0.0.0/7": "", "fd00::/48": "fd00::/48", "fd00::/47": "", "::/0 ": ""} {
		of, wrong := ParseTrusted(text)
		if (wrong == "") != (want != "") || wrong == "" && of.String() != want {
			t.Errorf("%q: %s, %s", text, of, wrong)
		}
	}
}

func TestEnvironment(t *testing.T) {
	got, err := Parse("config.yaml", []byte(smallest), Options{Environ: []string{
		"WAYBILL_RELAY__LEASE=60s", "WAYBILL_RELAY__READ__BATCH=17", "WAYBILL_RETRY__CAP=1m", "WAYBILL_ON_DEAD=skip", "WAYBILL_RELAY__WRITE_LIMITS=false",
		"WAYBILL_DATABASE_URL=secret", "WAYBILL_RELAY__MAX_UNSENT=5000", "HOME=/x", "WAYBILL_TOKEN=x",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if got.Relay.Lease != time.Minute || got.Relay.Read.Batch != 17 || got.OnDead != "skip" || got.Relay.WriteLimits {
		t.Errorf("overrides are lost: %+v", got.Relay)
	}
	if got.Routes[0].Retry.Cap != time.Minute || got.Routes[0].OnDead != "skip" {
		t.Errorf("a route does not inherit an override: %+v", got.Routes[0])
	}
	if o := got.Origins(); o["relay.lease"] != "WAYBILL_RELAY__LEASE" || o["name"] != "config.yaml:2" || o["relay.quarantine"] != "default" || o["routes[0].on_dead"] != "WAYBILL_ON_DEAD" {
		t.Errorf("origins: %v", o)
	}
	_, err = Parse("config.yaml", []byte(smallest), Options{Environ: []string{"WAYBILL_RELAY__LEASES=1", "WAYBILL_RELAY__LEASE=soon", "WAYBILL_ROUTES__NAME=x"}})
	for _, want := range []string{`WAYBILL_RELAY__LEASES: there is no key relay.leases that a variable could set, did you mean "relay.lease"?`, "WAYBILL_RELAY__LEASE: relay.lease: ", "WAYBILL_ROUTES__NAME: there is no key"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestEnvironmentAlone(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := Load(Options{DatabaseOnly: true}); err == nil {
		t.Error("no file and no variable must be an error")
	}
	got, err := Load(Options{DatabaseOnly: true, Environ: []string{"WAYBILL_DATABASE__URL=postgres://x"}})
	if err != nil {
		t.Fatal(err)
	}
	if url, err := got.Database.URL.Reveal(); url != "postgres://x" || err != nil {
		t.Errorf("%q, %v", url, err)
	}
}

func TestPrintRoundTrip(t *testing.T) {
	text, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{smallest, string(text)} {
		first, err := Parse("config.yaml", []byte(text), Options{})
		if err != nil {
			t.Fatal(err)
		}
		printed := first.YAML(true)
		again, err := Parse("config.yaml", printed, Options{})
		if err != nil {
			t.Fatalf("%v in\n%s", err, printed)
		}
		if again.Database.URL.IsSet() {
			again.Database.URL = first.Database.URL
		}
		if !reflect.DeepEqual(normal(first.Config), normal(again.Config)) {
			t.Errorf("printed:\n%s\ngot  %+v\nwant %+v", printed, again.Config, first.Config)
		}
	}
}

// normal makes nil and empty alike.
func normal(c *Config) string { return fmt.Sprintf("%+v", *c) }

func TestGlobsMeet(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"*", "x", true}, {"a*", "*b", true}, {"a*", "b*", false}, {"a", "a", true}, {"a", "ab", false}, {"*a*", "b*b", true}, {"", "*", true}, {"a*c", "ab*", true}, {"a*c", "*d", false}} {
		if got := globsMeet(c.a, c.b); got != c.want || globsMeet(c.b, c.a) != c.want {
			t.Errorf("%q meets %q: %v, want %v", c.a, c.b, got, c.want)
		}
	}
}

func TestExplain(t *testing.T) {
	for _, path := range []string{"relay.lease", "destinations.kafka-a.timeouts.broker", "routes[3].to.topic", "routes.to.topic", "database.url", "routes", "destinations"} {
		if k, err := Explain(path); err != nil || len(k) != 1 || k[0].Help == "" {
			t.Errorf("%s: %+v, %v", path, k, err)
		}
	}
	both, err := Explain("destinations.x.batch.max_bytes")
	if err != nil || len(both) != 2 || both[0].Kind+" "+both[0].Default != "kafka 900KiB" || both[1].Kind+" "+both[1].Default != "rocketmq 1MiB" {
		t.Errorf("a key of two kinds: %+v, %v", both, err)
	}
	if _, err := Explain("relay.leas"); err == nil || !strings.Contains(err.Error(), `did you mean "relay.lease"?`) {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	sample, err := os.ReadFile("../../config.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{smallest, string(sample), "", "a", "[]", "null", "? [a]: b", "&a [*a]", "database: { url: [1] }", "routes: [null, {}]", "destinations: { a: null }", "version: !!binary x"} {
		f.Add([]byte(s), "WAYBILL_RELAY__LEASE=1s")
	}
	f.Fuzz(func(t *testing.T, text []byte, env string) {
		l, err := Parse("f", text, Options{Environ: []string{env}})
		var ps Problems
		switch {
		case err == nil:
			l.YAML(true)
			l.Values()
		case !errors.As(err, &ps) || len(ps.Errors()) == 0:
			t.Fatalf("no problems in %v", err)
		}
	})
}
