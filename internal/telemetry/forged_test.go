package telemetry

import (
	"strings"
	"testing"
)

// Whatever stands in a message or a value, one call is one line of the log, and no other value can be made up inside it.
func TestNoForgedLogLines_S12(t *testing.T) {
	const forged = "x\nlevel=ERROR msg=\"all is lost\"\r\n{\"level\":\"ERROR\"}\x1b[31m\u2028"
	for _, format := range []string{"text", "json"} {
		var out lockedBuffer
		l := NewLogger(&out, LogOptions{Format: format, Outbox: "orders"})
		l.Warn("said "+forged, "topic", forged, "err", forged, forged, "name")
		l.Close()
		text := out.String()
		if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") || strings.ContainsAny(text, "\r\x1b") {
			t.Errorf("%s: %q", format, text)
		}
	}
}
