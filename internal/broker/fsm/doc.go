// Package fsm is what the bundled broker does with its log: every node applies the same entries in the same order and comes to the same state. It is
// deterministic: no clock, no I/O, no order of a map in a result.
//
// [Meta] is the machine of group 0: topics, and in which data group a partition lies. [Data] is that of each other group: the partitions themselves. A snapshot of
// either holds all that Apply depends on; taking one, or going on from one, changes no answer.
package fsm
