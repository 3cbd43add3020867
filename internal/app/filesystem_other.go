//go:build !linux

package app

// fileSystem is not known here.
func fileSystem(string) string { return "" }
