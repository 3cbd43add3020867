package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/waybillmq/waybill/internal/embedded"
	"github.com/waybillmq/waybill/migrations"
)

// serverSettings are those of a small production server. Checkpoints come when a run asks for one, not in the middle of it.
var serverSettings = map[string]string{
	"shared_buffers":     "512MB",
	"max_wal_size":       "8GB",
	"checkpoint_timeout": "1h",
}

// server is a private PostgreSQL with an empty outbox.
type server struct {
	*embedded.Server
	dir     string
	url     string // of the database with the outbox, for its superuser
	version string
}

// startServer refuses a server that is not durable: its figures would be those of another machine. noFsync is for the tests of this package.
func startServer(ctx context.Context, pgBin string, unsafe, noFsync bool) (_ *server, err error) {
	inst, err := embedded.Find(ctx, pgBin)
	if err != nil {
		return nil, err
	}
	cache, err := embedded.CacheDir()
	if err != nil {
		return nil, err
	}
	removeOld(cache)
	s := &server{dir: filepath.Join(cache, folderPrefix+randomHex()), version: inst.Version()}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if inMemory(cache) && !unsafe {
		return nil, errInMemory(cache)
	}
	if s.Server, err = embedded.Start(ctx, embedded.Config{Bin: inst.Bin, Dir: s.dir, Settings: serverSettings, NoFsync: noFsync}); err != nil {
		return nil, err
	}
	s.url = s.URL("postgres")
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var fsync, fullPages string
	if err := conn.QueryRow(ctx, `SELECT current_setting('fsync'), current_setting('full_page_writes')`).Scan(&fsync, &fullPages); err != nil {
		return nil, err
	}
	if (fsync != "on" || fullPages != "on") && !unsafe {
		return nil, fmt.Errorf("fsync is %s and full_page_writes is %s: a server that can lose its data is faster than yours will be. Accept it with --unsafe", fsync, fullPages)
	}
	_, err = migrations.Up(ctx, s.url, migrations.Options{})
	return s, err
}

func errInMemory(dir string) error {
	return fmt.Errorf("the data folder %s is in memory: a figure from there says nothing about a disk. Point the cache folder at a disk, or accept it with --unsafe", dir)
}

const folderPrefix = "bench-"

// removeOld removes what benches that were killed left behind.
func removeOld(cache string) {
	left, _ := filepath.Glob(filepath.Join(cache, folderPrefix+"*"))
	for _, dir := range left {
		if info, err := os.Stat(dir); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
			_ = os.RemoveAll(dir)
		}
	}
}

func randomHex() string {
	raw := make([]byte, 4)
	_, _ = rand.Read(raw) // never fails
	return hex.EncodeToString(raw)
}

func (s *server) close() error {
	var err error
	if s.Server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		err = s.Stop(ctx)
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}
