package bench

import (
	"strings"
	"testing"
)

func TestServerThatCanLoseDataIsRefused(t *testing.T) {
	o := testOptions(t)
	o.Unsafe = false
	if _, err := Store(t.Context(), o); err == nil || !strings.Contains(err.Error(), "fsync is off") || !strings.Contains(err.Error(), "--unsafe") {
		t.Errorf("a server without fsync: %v", err)
	}
}
