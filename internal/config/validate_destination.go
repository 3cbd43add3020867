package config

import (
	"net"
	"reflect"
	"strings"
)

// validateDestination checks what the keys of one destination say together.
func (d *decoder) validateDestination(dest *Destination) {
	path := "destinations." + dest.Name
	for _, f := range fieldsOf(reflect.TypeFor[Destination]()) {
		if !f.is("needed") || f.of != dest.Kind {
			continue
		}
		if at := join(path, f.key); len(dest.Servers()) == 0 {
			if _, given := d.origins[at]; given {
				d.at(at, "the list is empty; name at least one host:port")
			} else {
				d.at(at, "is missing: %s", f.tag.Get("help"))
			}
		}
	}
	switch dest.Kind {
	case KindKafka:
		d.validateKafka(path, &dest.Kafka)
	case KindRocketMQ:
		login := dest.RocketMQ.Credentials
		d.together(path+".credentials", "access_key", login.AccessKey.IsSet(), "secret_key", login.SecretKey.IsSet())
		if at := path + ".batch.max_messages"; dest.RocketMQ.Transactional && dest.RocketMQ.Batch.MaxMessages != 1 {
			if _, given := d.origins[at]; given {
				d.at(at, "is not used: transactional: true sends one message a call; leave it out, or set it to 1")
			}
		}
	case KindRabbitMQ:
		login := dest.RabbitMQ.Credentials
		d.together(path+".credentials", "username", login.Username.IsSet(), "password", login.Password.IsSet())
		d.validateTLS(path+".tls", dest.RabbitMQ.TLS)
		if login.Password.IsSet() && !dest.RabbitMQ.TLS.Enabled {
			d.warnPlain(path+".credentials", dest)
		}
	case KindWaybillBroker:
		if !d.root.Broker.Enabled {
			d.at(path+".kind", "the bundled broker does not run in this process: add broker: { enabled: true }")
		}
	}
}

func (d *decoder) validateKafka(path string, k *Kafka) {
	if k.Timeouts.Broker >= k.Timeouts.Publish {
		d.at(path+".timeouts", "broker, %s, must be below publish, %s: else every slow answer is called unknown", scalarText(k.Timeouts.Broker), scalarText(k.Timeouts.Publish))
	}
	d.validateTLS(path+".tls", k.TLS)
	d.together(path+".sasl", "username", k.SASL.Username.IsSet(), "password", k.SASL.Password.IsSet())
	switch given := k.SASL.Username.IsSet(); {
	case k.SASL.Mechanism == "plain" && !k.TLS.Enabled:
		d.at(path+".sasl.mechanism", "plain sends the password as it is: add tls: { enabled: true }, or take scram-sha-512")
	case k.SASL.Mechanism == "none" && given:
		d.at(path+".sasl.mechanism", "is none, so the username is not used: choose plain, scram-sha-256 or scram-sha-512")
	case k.SASL.Mechanism != "none" && !given:
		d.at(path+".sasl", "%s needs username and password", k.SASL.Mechanism)
	}
}

func (d *decoder) validateTLS(path string, t TLS) {
	d.together(path, "cert", t.Cert != "", "key", t.Key != "")
	if !t.Enabled && t != (TLS{}) {
		d.at(path+".enabled", "is false, so the other keys of tls are not used: set it to true")
	}
}

// together demands both of two keys, or none.
func (d *decoder) together(path, a string, hasA bool, b string, hasB bool) {
	if hasA && !hasB {
		a, b = b, a
	}
	if hasA != hasB {
		d.at(path+"."+a, "is missing: %s stands alone", b)
	}
}

// warnPlain warns of a password that crosses a network as it is.
func (d *decoder) warnPlain(path string, dest *Destination) {
	for _, server := range dest.Servers() {
		host, _, err := net.SplitHostPort(server)
		if ip := net.ParseIP(host); err == nil && !strings.EqualFold(host, "localhost") && (ip == nil || !ip.IsLoopback()) {
			d.warn(path, "the password goes to %s as it is: add tls: { enabled: true }", server)
			return
		}
	}
}
