package checker

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"
)

// Intent is one line of the intent log: what a producer is about to do, or what it heard about it.
type Intent struct {
	Token string `json:"token"`
	Plan  string `json:"plan,omitempty"`  // commit, rollback, savepoint, error, cut
	Async bool   `json:"async,omitempty"` // a crash may take it back although ok was heard
	Heard string `json:"heard,omitempty"` // ok, failed, unknown
}

// intents is an append-only file that is on disk before a transaction begins, so that a loss inside the database cannot hide. Group fsync: who writes while a
// sync runs shares the next one.
type intents struct {
	file *os.File

	mu     sync.Mutex
	buf    *bufio.Writer
	err    error
	syncs  *sync.Cond
	wrote  int64 // lines written
	synced int64 // lines on disk
	busy   bool
}

func newIntents(path string) (*intents, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	l := &intents{file: file, buf: bufio.NewWriter(file)}
	l.syncs = sync.NewCond(&l.mu)
	return l, nil
}

// plan writes lines and returns when they are on disk.
func (l *intents) plan(lines ...Intent) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(lines)
	for mine := l.wrote; l.synced < mine && l.err == nil; {
		if l.busy {
			l.syncs.Wait()
			continue
		}
		l.busy = true
		upTo := l.wrote
		l.err = l.buf.Flush()
		l.mu.Unlock()
		err := l.file.Sync()
		l.mu.Lock()
		l.busy, l.synced, l.err = false, upTo, errors.Join(l.err, err)
		l.syncs.Broadcast()
	}
	return l.err
}

// hear writes lines that need not be on disk.
func (l *intents) hear(lines ...Intent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write(lines)
}

// flush brings what was heard into the file.
func (l *intents) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = errors.Join(l.err, l.buf.Flush())
	return l.err
}

func (l *intents) write(lines []Intent) {
	for _, line := range lines {
		raw, err := json.Marshal(line)
		if _, werr := l.buf.Write(append(raw, '\n')); err == nil {
			err = werr
		}
		l.err = errors.Join(l.err, err)
		l.wrote++
	}
}

func (l *intents) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return errors.Join(l.err, l.buf.Flush(), l.file.Close())
}

// readIntents returns by token what was heard last: "" for nothing, "ok async" for what a crash may have taken back.
func readIntents(path string) (heard map[string]string, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	heard = map[string]string{}
	d := json.NewDecoder(bufio.NewReader(file))
	for {
		var line Intent
		if err := d.Decode(&line); err == io.EOF {
			return heard, nil
		} else if err != nil {
			return nil, err
		}
		if line.Heard == "ok" && line.Async {
			line.Heard = "ok async"
		}
		if line.Heard != "" || heard[line.Token] == "" {
			heard[line.Token] = line.Heard
		}
	}
}
