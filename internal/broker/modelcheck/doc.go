// Package modelcheck visits every state of small models of the bundled broker, within stated bounds, and shows a shortest way to each state that must not be.
//
// check.go walks a model, breadth first.
package modelcheck
