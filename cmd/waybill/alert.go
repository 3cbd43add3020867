package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
)

func newAlert(p *program) *cobra.Command {
	c := &cobra.Command{Use: "alert", Short: "Try the webhook of alerts", GroupID: groupSetUp, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return usage("alert needs a verb: test") }}
	c.AddCommand(&cobra.Command{Use: "test", Short: "Post a test to alerts.webhook", Args: cobra.NoArgs,
		Long: "Posts one signed test to the webhook of the configuration and says whether it was taken. Nothing is tried again. Exits 1 when it was not, 78 when there is no webhook.",
		RunE: p.do(func(ctx context.Context, _ []string) error {
			l, err := p.load(false)
			if err != nil {
				return err
			}
			if err := app.TryAlert(ctx, l.Config); err != nil {
				return err
			}
			return p.printItem("AlertTest", map[string]bool{"taken": true}, "", func(w io.Writer) { fmt.Fprintln(w, "the webhook took the test") })
		})})
	return c
}
