package rabbitmq

import "github.com/waybillmq/waybill/relay"

// keylessRun is how many ids in a row share a lane when they have no key, so that full batches form.
const keylessRun = 500

// Lane is a target and one of its channels. It depends on nothing but the message and Config.Channels: the broker may come and go.
func (p *Publisher) Lane(m *relay.Message) relay.Lane {
	exchange, routingKey := address(m)
	return relay.Lane{Topic: target(exchange, routingKey), Index: channelOf(m, p.cfg.Channels)}
}

// channelOf spreads keys by FNV-1a; messages without a key by their id.
func channelOf(m *relay.Message, channels int) int32 {
	if m.Key == "" {
		return int32(int64(m.ID) / keylessRun % int64(channels))
	}
	h := uint32(2166136261)
	for i := 0; i < len(m.Key); i++ {
		h = (h ^ uint32(m.Key[i])) * 16777619
	}
	return int32(h % uint32(channels))
}
