package httpserver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, handler http.HandlerFunc) *Server {
	t.Helper()
	l, err := Listen("metrics.listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return Serve(l, Limited(handler, time.Minute))
}

// get asks once, over a connection of its own, and returns the body of the answer.
func get(s *Server) (string, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + s.Addr().String())
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return string(body), err
}

func TestServe(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "here") })
	if got, err := get(s); got != "here" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := Listen("metrics.listen", s.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) || !strings.HasPrefix(err.Error(), "metrics.listen: ") {
		t.Errorf("an address that is taken: %v", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := get(s); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after close: %v", err)
	}
}

// An answer that runs when Close is called is finished, or cut when the time for it is over.
func TestClose(t *testing.T) {
	for name, waits := range map[string]bool{"finish": true, "cut": false} {
		t.Run(name, func(t *testing.T) {
			closing, running := make(chan struct{}), make(chan struct{})
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				close(running)
				if <-closing; waits {
					_, _ = io.WriteString(w, "whole")
					return
				}
				<-r.Context().Done()
			})
			s.http.RegisterOnShutdown(func() { close(closing) })
			type answer struct {
				body string
				err  error
			}
			got := make(chan answer, 1)
			go func() {
				body, err := get(s)
				got <- answer{body, err}
			}()
			<-running
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if !waits {
				cancel()
			}
			err := s.Close(ctx)
			if a := <-got; waits && (err != nil || a.body != "whole" || a.err != nil) || !waits && (!errors.Is(err, context.Canceled) || a.err == nil) {
				t.Errorf("close: %v; the answer: %q, %v", err, a.body, a.err)
			}
		})
	}
}

func TestNothingIsUnlimited(t *testing.T) {
	if s := Limited(nil, time.Second); s.ReadHeaderTimeout == 0 || s.ReadTimeout == 0 || s.WriteTimeout != time.Second || s.IdleTimeout == 0 || s.MaxHeaderBytes == 0 {
		t.Errorf("a limit of the server is open: %+v", s)
	}
}
