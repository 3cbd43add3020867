package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// Origin says how an installation was come by.
type Origin int

// The ways to come by an installation.
const (
	Found   Origin = iota // on the machine
	Kept                  // in the cache folder, fetched earlier
	Fetched               // just now
)

// String is "found", "kept" or "fetched".
func (o Origin) String() string {
	switch o {
	case Found:
		return "found"
	case Kept:
		return "kept"
	case Fetched:
		return "fetched"
	}
	return fmt.Sprintf("Origin(%d)", int(o))
}

// Options say where Obtain and Fetch may look. The zero value is the ordinary case.
type Options struct {
	// Bin is the only folder looked at when it is not empty, as for Find. Fetch does not read it.
	Bin string
	// From is the place of the archive: the URL of a folder, or a folder. Empty: what RepositoryVariable names, else the public place.
	From string
	// NoDownload forbids the network. The cache, and a From that is a folder, still count.
	NoDownload bool
	// Announce is told in a sentence, before it happens, what takes long: a download, or waiting for that of another program. nil: nobody is told.
	Announce func(string)

	cache string   // instead of CacheDir, for tests
	pin   *archive // instead of this platform's, for tests
}

// Obtain gives a PostgreSQL that runs here: the newest one on the machine (Find), else the one that was fetched into the cache earlier, else the pinned
// release, fetched now. Its time is bounded by ctx and, for the fetch, by DownloadLimit. Several programs and goroutines may call it at once: one fetches,
// the others wait for it.
//
// When there is none the error is a *NotFoundError that says why fetching failed as well; when ctx ended during the fetch, it is ctx's.
func Obtain(ctx context.Context, o Options) (Installation, error) {
	inst, err := Find(ctx, o.Bin)
	var none *NotFoundError
	if !errors.As(err, &none) {
		return inst, err
	}
	inst, err = Fetch(ctx, o)
	if err == nil || ctx.Err() != nil {
		return inst, err
	}
	none.Fetch = err
	if a, ok := o.archive(); ok {
		none.Archive = a.Name
	}
	return Installation{}, none
}

// Fetch is Obtain without looking on the machine: always the pinned release, for tests that want just that one.
func Fetch(ctx context.Context, o Options) (Installation, error) {
	a, ok := o.archive()
	if !ok {
		return Installation{}, fmt.Errorf("PostgreSQL %s cannot be fetched for %s: nobody publishes it for this system", serverVersion, platform)
	}
	from := o.From
	if from == "" {
		from = os.Getenv(RepositoryVariable)
	}
	src, err := a.source(from)
	if err != nil {
		return Installation{}, err
	}
	base := o.cache
	if base == "" {
		if base, err = CacheDir(); err != nil {
			return Installation{}, err
		}
	}
	if o.Announce == nil {
		o.Announce = func(string) {}
	}
	return (&cache{base: base, archive: a, source: src, offline: o.NoDownload && src.remote(), announce: o.Announce}).get(ctx)
}

func (o Options) archive() (archive, bool) {
	if o.pin != nil {
		return *o.pin, true
	}
	a, ok := archives[platform]
	return a, ok
}
