package embedded

import (
	"context"
	"time"
)

// What the tests reach inside for.
var (
	ParseVersion = parseVersion
	Newest       = newest
	Archives     = archives
)

type Archive = archive

// ServerVersion is what a fetched server answers.
const ServerVersion, BinFolder = serverVersion, binFolder

// Abandon gives the folder back while the server runs on, as after the death of a program on a system without a death signal.
func (s *Server) Abandon() { s.unlock() }

// Into has o fetch into another cache folder, and another archive when pin is one.
func (o Options) Into(cache string, pin *Archive) Options {
	o.cache, o.pin = cache, pin
	return o
}

// HideUsualFolders leaves PATH as the only way to find a server, until the returned function is called.
func HideUsualFolders() (show func()) {
	kept := usualFolders
	usualFolders = nil
	return func() { usualFolders = kept }
}

// OnPlatform makes this a program for another system, until the returned function is called.
func OnPlatform(name string) (back func()) {
	kept := platform
	platform = name
	return func() { platform = kept }
}

func Download(ctx context.Context, a Archive, from, file string, limit, stall time.Duration) error {
	src, err := a.source(from)
	if err != nil {
		return err
	}
	return (&download{archive: a, source: src, limit: limit, stall: stall}).to(ctx, file)
}

func Unpack(ctx context.Context, file, dir string, bytes int64, entries int) error {
	return unpack(ctx, file, dir, limits{bytes: bytes, entries: entries})
}

func Platform() string { return platform }
