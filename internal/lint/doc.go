// Package lint holds the architecture as data and checks the sources against it: who may import whom, which libraries are used where and why, package
// comments, names, the top of the repository, the length of files. The rules run as a Go test that reads the sources itself, inside the test process: a
// test that asks a child process would stay cached as passed after a forbidden import.
//
// It also holds the table of hazards, with the tests that show their answers, and writes docs/hazards.md from it. Whoever builds what a hazard is about takes it off
// the open ones in the same change.
//
// Whoever needs a new import, library or top-level entry adds a line to table.go, with its reason; that line is what gets reviewed.
package lint
