//go:build !linux

package testservices

// unmountBelow has nothing to do here: no test mounts anything.
func unmountBelow(string) {}
