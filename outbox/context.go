package outbox

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

type schemaKey struct{}

type traceKey struct{}

type traceContext struct{ parent, state string }

// WithSchema returns a context whose messages go to the outbox in that schema instead of "outbox".
func WithSchema(ctx context.Context, schema string) context.Context {
	return context.WithValue(ctx, schemaKey{}, schema)
}

// WithTraceContext returns a context whose messages carry this W3C trace context in the headers traceparent and tracestate, unless a message has a
// traceparent of its own. An empty traceparent means none. With OpenTelemetry:
//
//	carrier := propagation.MapCarrier{}
//	propagation.TraceContext{}.Inject(ctx, carrier)
//	ctx = outbox.WithTraceContext(ctx, carrier["traceparent"], carrier["tracestate"])
func WithTraceContext(ctx context.Context, traceparent, tracestate string) context.Context {
	return context.WithValue(ctx, traceKey{}, traceContext{parent: traceparent, state: tracestate})
}

func traceOf(ctx context.Context) traceContext {
	trace, _ := ctx.Value(traceKey{}).(traceContext)
	return trace
}

var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}$`)

// schemaOf also keeps anything but a name out of the SQL text.
func schemaOf(ctx context.Context) (string, error) {
	schema, ok := ctx.Value(schemaKey{}).(string)
	if !ok {
		return "outbox", nil
	}
	if !schemaName.MatchString(schema) || strings.HasPrefix(schema, "pg_") {
		return "", fmt.Errorf("outbox: schema %q: use 1 to 40 of a-z, 0-9 and _, not beginning with a digit or pg_", schema)
	}
	return schema, nil
}
