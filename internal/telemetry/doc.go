// Package telemetry shows what a relay does: log lines, metrics, health. It implements relay.Events and decides nothing.
//
// Absent on purpose: keys, payloads, header values and connection strings, in any output; labels that grow with the traffic.
package telemetry
