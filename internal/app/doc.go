// Package app is the composition root: it builds everything from the configuration, and owns the order of start and stop. The commands call it and add
// nothing but flags and output.
package app
