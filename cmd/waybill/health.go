package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/spf13/cobra"
)

func newHealth(p *program) *cobra.Command {
	return &cobra.Command{Use: "health live|ready|startup|degraded", Short: "Ask the relay of this machine how it is, for images without a shell", GroupID: groupSetUp,
		Long: "Asks /livez, /readyz, /startupz or /degradedz on metrics.listen of the configuration, over loopback. Exits 6 when the answer is no, 1 when there is none.",
		Args: cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs), ValidArgs: []string{"live", "ready", "startup", "degraded"},
		RunE: p.do(func(ctx context.Context, args []string) error {
			l, err := p.load(true)
			if err != nil {
				return err
			}
			return p.health(ctx, "http://"+loopback(l.Metrics.Listen)+"/"+args[0]+"z?verbose")
		})}
}

// loopback is where this machine reaches a listener.
func loopback(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return listen
}

// maxHealthBytes bounds an answer of whoever listens there.
const maxHealthBytes = 64 << 10

func (p *program) health(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("no relay answers: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxHealthBytes))
	if err != nil {
		return err
	}
	if _, err := p.out.Write(body); err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return &exitError{code: exitUnhealthy}
	}
	return nil
}
