package relay

// place is where the engine keeps a message while it owns it; guarded by the engine's lock.
type place struct{}
