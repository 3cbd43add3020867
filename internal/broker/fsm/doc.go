// Package fsm is what the bundled broker does with its log: every node applies the same entries in the same order and comes to the same state. It is
// deterministic: no clock, no I/O, no order of a map in a result.
package fsm
