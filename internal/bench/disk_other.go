//go:build !linux

package bench

// quietDisk does nothing here.
func quietDisk() {}

// inMemory is not known here.
func inMemory(string) bool { return false }
