package rocketmq

import (
	"reflect"
	"testing"
)

func TestMergeRoutes_D11(t *testing.T) {
	at := func(name string, addrs map[string]string) brokerData {
		return brokerData{Name: name, Cluster: "c", Addrs: addrs}
	}
	master, slave := map[string]string{"0": "m"}, map[string]string{"1": "s"}
	one := &route{Brokers: []brokerData{at("a", master)}, Queues: []queues{{"a", 4, 4, 6}}}
	for _, c := range []struct {
		name string
		b    *route
		want *route
	}{
		{"does not know it", nil, one},
		{"the same", one, one},
		{"another broker", &route{Brokers: []brokerData{at("b", master)}, Queues: []queues{{"b", 2, 2, 6}}},
			&route{Brokers: []brokerData{at("a", master), at("b", master)}, Queues: []queues{{"a", 4, 4, 6}, {"b", 2, 2, 6}}}},
		{"more queues, another address", &route{Brokers: []brokerData{at("a", slave)}, Queues: []queues{{"a", 8, 8, 6}}},
			&route{Brokers: []brokerData{at("a", map[string]string{"0": "m", "1": "s"})}, Queues: []queues{{"a", 8, 8, 6}}}},
		{"knows the broker, not its queues", &route{Brokers: []brokerData{at("a", nil)}}, one},
	} {
		if got := mergeRoutes(one, c.b); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		if got := mergeRoutes(c.b, one); !reflect.DeepEqual(got.queues(permWrite), c.want.queues(permWrite)) || got.master("a") != "m" {
			t.Errorf("%s, the other way: %+v, want %+v", c.name, got, c.want)
		}
	}
	if got := mergeRoutes(nil, nil); got != nil {
		t.Errorf("nobody knows it: %+v", got)
	}
	if !reflect.DeepEqual(one, &route{Brokers: []brokerData{at("a", master)}, Queues: []queues{{"a", 4, 4, 6}}}) || len(master) != 1 {
		t.Errorf("an answer was changed: %+v", one)
	}
}

func TestMergeClusters_D11(t *testing.T) {
	a := &cluster{Brokers: map[string]brokerData{"a": {Name: "a", Cluster: "c", Addrs: map[string]string{"0": "m"}}}, Clusters: map[string][]string{"c": {"a"}}}
	b := &cluster{Brokers: map[string]brokerData{"a": {Name: "a", Cluster: "c", Addrs: map[string]string{"1": "s"}}, "b": {Name: "b", Cluster: "c", Addrs: map[string]string{"0": "n"}}},
		Clusters: map[string][]string{"c": {"b"}, "d": {"b"}}}
	want := &cluster{Brokers: map[string]brokerData{"a": {Name: "a", Cluster: "c", Addrs: map[string]string{"0": "m", "1": "s"}}, "b": b.Brokers["b"]},
		Clusters: map[string][]string{"c": {"a", "b"}, "d": {"b"}}}
	for _, got := range []*cluster{mergeClusters(a, b), mergeClusters(b, a)} {
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if got := mergeClusters(&cluster{}, a); !reflect.DeepEqual(got, a) {
		t.Errorf("an empty one: %+v", got)
	}
	if got := mergeClusters(a, &cluster{}); !reflect.DeepEqual(got, a) {
		t.Errorf("an empty one, the other way: %+v", got)
	}
}
