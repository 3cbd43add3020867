package embedded

// What the tests reach inside for.
var (
	ParseVersion = parseVersion
	Newest       = newest
)

// Abandon gives the folder back while the server runs on, as after the death of a program on a system without a death signal.
func (s *Server) Abandon() { s.unlock() }
