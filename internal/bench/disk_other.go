//go:build !linux

package bench

// quietDisk does nothing here.
func quietDisk() {}

// inMemory is not known here.
func inMemory(string) bool { return false }

// dropCache does nothing: reads may come from memory here.
func dropCache(string) error { return nil }
