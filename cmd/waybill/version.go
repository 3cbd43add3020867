package main

import (
	"context"
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
	"github.com/waybillmq/waybill/migrations"
)

type versionView struct {
	Version string `json:"version"`
	Schema  int    `json:"schema"`
	Go      string `json:"go"`
}

func newVersion(p *program) *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Version of this program and of the schema that it needs", GroupID: groupSetUp, Args: cobra.NoArgs,
		RunE: p.do(func(context.Context, []string) error {
			v := versionView{app.Version(), migrations.Version, runtime.Version()}
			return p.printItem("Version", v, v.Version, func(w io.Writer) {
				fmt.Fprintf(w, "waybill %s, schema %d, %s\n", v.Version, v.Schema, v.Go)
			})
		})}
}
