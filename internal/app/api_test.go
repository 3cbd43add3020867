package app

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/waybillmq/waybill/outbox"
)

// api asks a running relay, and returns the item of the answer.
func (w *ward) api(path, token string) (code int, item map[string]any) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), "GET", w.base+"/api/v1"+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r.Close = true
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	var got struct{ Item map[string]any }
	if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
		w.t.Fatalf("%s: %d, %v", path, res.StatusCode, err)
	}
	return res.StatusCode, got.Item
}

// A program sees through the API of a whole relay that its message was sent, and the token file is what opens the activity log.
func TestAPIOfARelay(t *testing.T) {
	w := newWard(t)
	w.publish(outbox.Message{Topic: "order.paid", Key: "4711", Payload: []byte("{}")})
	eventually(t, "the message is sent", func() bool {
		_, m := w.api("/messages/1", "")
		return m["state"] == "sent"
	})
	if code, why := w.api("/messages/1/why", ""); code != http.StatusOK || why["verdict"] != "sent" || why["subject"] != "message 1" {
		t.Errorf("%d %v", code, why)
	}
	if code, status := w.api("/overview", ""); code != http.StatusOK || status["owner_alive"] != true || status["headline"].(map[string]any)["subject"] != "outbox" {
		t.Errorf("%d %v", code, status)
	}
	eventually(t, "the relay reports its destination", func() bool {
		_, d := w.api("/destinations/local", "")
		return d["state"] == "closed" && d["reported_by"] == "relay-1"
	})
	for token, want := range map[string]int{"": http.StatusUnauthorized, "x" + w.token: http.StatusUnauthorized, w.token: http.StatusOK} {
		if code, _ := w.api("/activity", token); code != want {
			t.Errorf("the activity log: %d, want %d", code, want)
		}
	}
}
