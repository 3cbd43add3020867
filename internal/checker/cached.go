package checker

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// Where the log and the identity of a cache lie in its folder. Nothing else of its format is known here: a message is found by the token in its payload.
const (
	logFiles     = "queue/log/*.seg"
	identityFile = "queue/identity"
)

// cached is the token of a message in a file of a cache.
type cached struct {
	file  string
	at    int64
	token string
}

// findCached returns where the tokens of a run that are higher than since stand in the log of a cache, file by file in their order. No folder: there are none.
func findCached(cache, run string, since int64) (all []cached, err error) {
	names, err := filepath.Glob(filepath.Join(cache, logFiles))
	if err != nil {
		return nil, err
	}
	before := []byte(`"token":"` + run + "-")
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if errors.Is(err, os.ErrNotExist) {
			continue // released meanwhile
		}
		if err != nil {
			return nil, err
		}
		for at := 0; ; {
			i := bytes.Index(raw[at:], before)
			if i < 0 {
				break
			}
			at += i + len(before)
			digits, _, ended := bytes.Cut(raw[at:min(len(raw), at+20)], []byte{'"'})
			if n, err := strconv.ParseInt(string(digits), 10, 64); ended && err == nil && n > since {
				all = append(all, cached{name, int64(at), string(digits)})
			}
		}
	}
	return all, nil
}

// count is how many messages there are; one may stand at two places.
func count(found []cached) int {
	tokens := map[string]bool{}
	for _, c := range found {
		tokens[c.token] = true
	}
	return len(tokens)
}

// apply harms a cache that holds what was found in it, and says what came of it.
func (h Harm) apply(r *rand.Rand, cache string, found []cached) (proof string, err error) {
	switch h {
	case Remove:
		return fmt.Sprintf("the folder is gone with %d messages", count(found)), removeFolder(cache)
	case Flip:
		return flip(r, cache, found)
	case Cut:
		return cut(r, found)
	case Keep:
		return fmt.Sprintf("its %d messages are as they were left", count(found)), nil
	}
	return "", fmt.Errorf("no harm %q to files", h)
}

// removeFolder removes a folder in which a relay may make files meanwhile.
func removeFolder(dir string) (err error) {
	for range 100 {
		if err = os.RemoveAll(dir); !errors.Is(err, syscall.ENOTEMPTY) {
			break
		}
	}
	return err
}

// flips is how many bits are turned in messages, and as many anywhere between the first and the last of them.
const flips = 8

// flip turns bits: in messages that were found, between them, and one time in three in the identity of the folder.
func flip(r *rand.Rand, cache string, found []cached) (proof string, err error) {
	hit := r.Perm(len(found))[:min(flips, len(found))]
	for _, i := range hit {
		c := found[i]
		first, last := span(found, c.file)
		if anywhere := first + r.Int64N(last-first+1); anywhere < c.at || anywhere >= c.at+int64(len(c.token)) {
			err = errors.Join(err, flipBit(r, c.file, anywhere))
		}
		err = errors.Join(err, flipBit(r, c.file, c.at+r.Int64N(int64(len(c.token)))))
	}
	proof = fmt.Sprintf("bits of %d of its %d messages are turned", len(hit), count(found))
	if r.IntN(3) == 0 {
		proof += ", and one of its identity"
		err = errors.Join(err, flipBit(r, filepath.Join(cache, identityFile), 8+r.Int64N(60))) // behind the version: a newer one is left alone until a person drops it
	}
	return proof, err
}

// span is where the first and the last of what was found in a file stand.
func span(found []cached, file string) (first, last int64) {
	in := slices.DeleteFunc(slices.Clone(found), func(c cached) bool { return c.file != file })
	return in[0].at, in[len(in)-1].at
}

func flipBit(r *rand.Rand, name string, at int64) (err error) {
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	b := make([]byte, 1)
	if _, err := file.ReadAt(b, at); err != nil {
		return err
	}
	b[0] ^= 1 << r.IntN(8)
	_, err = file.WriteAt(b, at)
	return err
}

// cut ends each file in front of a message that was found in it.
func cut(r *rand.Rand, found []cached) (proof string, err error) {
	byFile := map[string][]cached{}
	var names []string
	for _, c := range found {
		if byFile[c.file] == nil {
			names = append(names, c.file)
		}
		byFile[c.file] = append(byFile[c.file], c)
	}
	behind := 0
	for _, name := range names {
		in := byFile[name]
		first := r.IntN(len(in))
		behind += len(in) - first
		err = errors.Join(err, os.Truncate(name, in[first].at))
	}
	return fmt.Sprintf("%d files end in front of %d of its %d messages", len(names), behind, count(found)), err
}
