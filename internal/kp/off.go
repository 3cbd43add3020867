//go:build !killpoints

package kp

// Enabled says whether kill points and planted bugs are compiled in.
const Enabled = false

// Hit does nothing in this build.
func Hit(Point) {}

// Planted is false in this build.
func Planted(Bug) bool { return false }
