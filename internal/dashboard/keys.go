package dashboard

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/waybillmq/waybill/relay"
)

type keysPage struct {
	relay.KeyList
	Later bool
	Next  string // address of the next page; empty = that was all
}

func (d *Dashboard) keys(w http.ResponseWriter, r *http.Request, s *session) error {
	q := r.URL.Query()
	after := relay.Key{Topic: q.Get("after_topic"), Key: q.Get("after_key")}
	list, err := d.Inspector.Keys(r.Context(), after, relay.DefaultPage)
	if err != nil {
		return err
	}
	p := keysPage{KeyList: list, Later: after != relay.Key{}}
	if list.More {
		last := list.Items[len(list.Items)-1]
		p.Next = "/keys?" + url.Values{"after_topic": {last.Topic}, "after_key": {last.Key.Key}}.Encode()
	}
	return d.show(w, s, http.StatusOK, "keys", page{Title: "Blocked keys", Active: "keys", Body: p})
}

type keyPage struct {
	relay.KeyInfo
	Acts []act
	List relay.MessageList // head first when all of it fits the page
}

// key shows a closed key. Topic and key stand in the query: as parts of a path some of them, such as "..", would be cleaned away.
func (d *Dashboard) key(w http.ResponseWriter, r *http.Request, s *session) error {
	k := relay.Key{Topic: r.URL.Query().Get("topic"), Key: r.URL.Query().Get("key")}
	info, err := d.Inspector.Key(r.Context(), k)
	if err != nil {
		return err
	}
	head, err := d.Inspector.Message(r.Context(), info.Head)
	if err != nil {
		return err
	}
	f := relay.Filter{Terms: []relay.Term{
		{Name: "state", Op: ':', Values: []string{string(relay.Dead), string(relay.Retrying), string(relay.Blocked)}},
		{Name: "key", Op: ':', Values: []string{k.Key}}, {Name: "topic", Op: ':', Values: []string{k.Topic}}}}
	p := keyPage{KeyInfo: info, Acts: actsOn(&head)}
	if p.List, err = d.Inspector.Messages(r.Context(), f, 0, relay.DefaultPage); err != nil {
		return err
	}
	if p.List.Next == 0 {
		slices.Reverse(p.List.Items)
	}
	return d.show(w, s, http.StatusOK, "key", page{Title: "Key", Active: "keys", Body: p})
}
