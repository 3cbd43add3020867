// Package bench measures the relay and the bundled broker against what the same machine can do otherwise, in the same run: `waybill bench`. An absolute number
// says nothing on a shared machine, so every figure is a ratio of two things measured in turn, round by round, and every timed run is checked: nothing lost,
// nothing twice, each key in order, the tables empty after it.
//
// Both sides of a ratio run in a process of their own (a worker), so that their CPU time and memory can be told apart; PostgreSQL is a private server on a
// real disk with fsync on.
//
// Absent on purpose: thresholds that fail a build. A figure below its floor is printed as such; whether that matters is a person's question.
package bench
