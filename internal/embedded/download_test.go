package embedded_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waybillmq/waybill/internal/embedded"
)

// pinned is the archive that holds data.
func pinned(data []byte) embedded.Archive {
	sum := sha256.Sum256(data)
	return embedded.Archive{Name: "server.whl", Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:]), Needs: "a shell"}
}

// serve answers every request on loopback until the test ends.
func serve(t *testing.T, answer http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	return s.URL
}

// answer is one body of known length.
func answer(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body)
	}
}

// half sends the first half of body and then nothing more until the client goes away; said is told that it was sent.
func half(body []byte, said func()) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body[:len(body)/2])
		http.NewResponseController(w).Flush()
		said()
		<-r.Context().Done()
	}
}

func TestDownload(t *testing.T) {
	body := bytes.Repeat([]byte("PostgreSQL"), 10_000)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	mirror := t.TempDir()
	write(t, filepath.Join(mirror, "server.whl"), body)
	changed := bytes.Clone(body)
	changed[70_000]++
	was, is := pinned(body).SHA256, pinned(changed).SHA256
	at := func(h http.HandlerFunc) string { return serve(t, h) }

	for _, c := range []struct {
		name, from string
		wants      []string // none: it comes
	}{
		{name: "from a web server", from: at(answer(body))},
		{name: "from a folder there", from: at(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/pg/server.whl" {
				w.WriteHeader(http.StatusNotFound)
			}
			answer(body)(w, r)
		}) + "/pg/"},
		{name: "from a folder here", from: mirror},
		{name: "changed", from: at(answer(changed)), wants: []string{"refused", "expected 100000 bytes with SHA-256 " + was, "got 100000 bytes with SHA-256 " + is, "try again"}},
		{name: "too short", from: at(answer(body[:500])), wants: []string{"refused", "got 500 bytes"}},
		{name: "too long", from: at(answer(append(changed, 'x'))), wants: []string{"refused", "a longer file"}},
		{name: "cut", from: at(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			w.Write(body[:4000])
			panic(http.ErrAbortHandler)
		}), wants: []string{"ended after ", "of 100000 bytes", "try again"}},
		{name: "absent", from: at(http.NotFound), wants: []string{"404 Not Found"}},
		{name: "no folder", from: filepath.Join(mirror, "none"), wants: []string{"no such file"}},
		{name: "no server", from: "http://" + nobody.Addr().String(), wants: []string{"connection refused"}},
		{name: "no URL", from: "https://user:secret@[::1", wants: []string{"cannot be read", "https://HOST/FOLDER"}},
		{name: "silent", from: at(half(body, func() {})), wants: []string{"nothing came for 300ms"}},
	} {
		file := filepath.Join(t.TempDir(), "archive")
		err := embedded.Download(t.Context(), pinned(body), c.from, file, time.Minute, 300*time.Millisecond)
		if len(c.wants) == 0 {
			if got, _ := os.ReadFile(file); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%s: %d bytes, %v", c.name, len(got), err)
			}
			continue
		}
		for _, want := range c.wants {
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v, want %q", c.name, err, want)
			}
		}
	}
}

// A server that goes on sending, but too slowly, is given up as well; and the caller's own end is told from both.
func TestDownloadIsBounded(t *testing.T) {
	body := make([]byte, 10_000)
	slow := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			w.Write([]byte{0})
			http.NewResponseController(w).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	})
	err := embedded.Download(t.Context(), pinned(body), slow, filepath.Join(t.TempDir(), "archive"), 300*time.Millisecond, time.Minute)
	if err == nil || !strings.Contains(err.Error(), "it took longer than 300ms") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	hanging := serve(t, half(body, cancel))
	err = embedded.Download(ctx, pinned(body), hanging, filepath.Join(t.TempDir(), "archive"), time.Minute, time.Minute)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
