package testservices

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/waybillmq/waybill/internal/embedded"
)

// copyTemplate fills dir with a fresh data folder: initdb runs once per machine and version (0.5 s), every server after that is a copy (0.1 s).
func copyTemplate(ctx context.Context, space *space, inst embedded.Installation, dir string) error {
	template := filepath.Join(space.base, "template-"+inst.Version())
	guard, err := lockFile(template + ".lock")
	if err != nil {
		return err
	}
	defer guard.Close()
	if _, err := os.Stat(template); errors.Is(err, os.ErrNotExist) {
		if err := makeTemplate(ctx, inst, template); err != nil {
			return err
		}
	}
	acct, err := embedded.RunAs()
	if err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	password, err := os.ReadFile(filepath.Join(template, "password"))
	if err != nil {
		return err
	}
	if err := errors.Join(os.Mkdir(data, 0o700), acct.Give(data), os.WriteFile(filepath.Join(dir, "password"), password, 0o600)); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "cp", "-R", filepath.Join(template, "data")+"/.", data)
	acct.Apply(cmd)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s to %s as %s: %w: %s", template, dir, acct.Name, err, lastLines(out, 3))
	}
	return nil
}

// makeTemplate renames the folder into place when it is whole.
func makeTemplate(ctx context.Context, inst embedded.Installation, template string) error {
	fresh := template + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	server, err := embedded.Start(ctx, embedded.Config{Bin: inst.Bin, Dir: fresh, NoFsync: true})
	if err != nil {
		return err
	}
	if err := server.Stop(ctx); err != nil {
		return err
	}
	return os.Rename(fresh, template)
}
