package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"
)

// DownloadLimit bounds a download as a whole, also when ctx has no deadline: 23 kB/s are enough.
const DownloadLimit = 10 * time.Minute

// stallLimit bounds the time in which nothing comes: a dead proxy is noticed long before DownloadLimit.
const stallLimit = 30 * time.Second

// download brings an archive into a file and refuses any but the pinned one.
type download struct {
	archive archive
	source  source
	limit   time.Duration
	stall   time.Duration
}

// to writes the file, which must not exist. After an error the file may hold anything.
func (d *download) to(ctx context.Context, file string) error {
	limited, cancel := context.WithTimeoutCause(ctx, d.limit, fmt.Errorf("it took longer than %s", d.limit))
	defer cancel()
	watched, stop := context.WithCancelCause(limited)
	defer stop(nil)
	timer := time.AfterFunc(d.stall, func() { stop(fmt.Errorf("nothing came for %s", d.stall)) })
	defer timer.Stop()
	err := d.copy(watched, file, timer)
	if err != nil && watched.Err() != nil { // the cause says more than what the broken connection said
		return context.Cause(watched)
	}
	return err
}

func (d *download) copy(ctx context.Context, file string, timer *time.Timer) error {
	body, err := d.source.open(ctx)
	if err != nil {
		return err
	}
	defer body.Close()
	out, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	sum := sha256.New()
	alive := readerFunc(func(p []byte) (int, error) {
		n, err := body.Read(p)
		if n > 0 {
			timer.Reset(d.stall)
		}
		return n, err
	})
	n, err := io.Copy(io.MultiWriter(out, sum), io.LimitReader(alive, d.archive.Size+1))
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the connection ended after %d of %d bytes: try again", n, d.archive.Size)
	}
	if err != nil {
		return err
	}
	if err := d.archive.check(n, hex.EncodeToString(sum.Sum(nil))); err != nil {
		return err
	}
	return out.Close()
}

// check compares what came, read up to one byte beyond the pinned size, with the pin.
func (a archive) check(size int64, sum string) error {
	if size == a.Size && sum == a.SHA256 {
		return nil
	}
	came := fmt.Sprintf("%d bytes with SHA-256 %s", size, sum)
	if size > a.Size {
		came = "a longer file"
	}
	return fmt.Errorf("refused, it is not the file that this program knows: expected %d bytes with SHA-256 %s, got %s."+
		" A proxy, a mirror or a broken copy changed it: try again, or from another place", a.Size, a.SHA256, came)
}

// open asks a web server, through the proxy of HTTPS_PROXY or HTTP_PROXY when there is one, or opens the file.
func (s source) open(ctx context.Context) (io.ReadCloser, error) {
	if !s.remote() {
		return os.Open(s.file)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "waybill")
	request.Header.Set("Accept-Encoding", "identity") // the file itself, not one that the transport decompresses
	request.Close = true                              // one request: no idle connection stays
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		var e *url.Error // it repeats the URL
		if errors.As(err, &e) {
			err = e.Err
		}
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		answer.Body.Close()
		return nil, fmt.Errorf("the server answered %s", answer.Status)
	}
	return answer.Body, nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
