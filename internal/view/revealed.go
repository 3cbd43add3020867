package view

// Revealed is what may be seen of what a message carries.
type Revealed struct {
	ID          string            `json:"id"`
	Activity    string            `json:"activity"` // row of the activity log
	Topic       string            `json:"topic"`
	ContentType string            `json:"content_type,omitempty"`
	Headers     map[string]string `json:"headers"`
	Bytes       int               `json:"payload_bytes"`      // as it was written
	Tombstone   bool              `json:"tombstone"`          // it has no payload
	Encoding    string            `json:"encoding,omitempty"` // of payload: text or base64; left out = nothing is shown
	Payload     string            `json:"payload,omitempty"`
	Masked      int               `json:"masked"`           // values that masks hide
	Hidden      string            `json:"hidden,omitempty"` // why nothing of the payload is shown
}
