package testservices

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// rabbitTools are the programs of RabbitMQ and Erlang's name server.
type rabbitTools struct {
	sbin string // folder of rabbitmq-server and rabbitmqctl, the scripts that do not change the user
	epmd string
}

// rabbitPrograms finds RabbitMQ: the folder that WAYBILL_TEST_RABBITMQ names (with sbin/rabbitmq-server), else what is on the machine, else Debian's package.
func rabbitPrograms(ctx context.Context) (rabbitTools, error) {
	if home := os.Getenv("WAYBILL_TEST_RABBITMQ"); home != "" {
		tools, ok := findRabbit(filepath.Join(home, "sbin"))
		if !ok {
			return tools, fmt.Errorf("WAYBILL_TEST_RABBITMQ: %s has no sbin/rabbitmq-server, or there is no epmd of Erlang on this machine", home)
		}
		return tools, nil
	}
	if tools, ok := findRabbit(rabbitFolders()...); ok {
		return tools, nil
	}
	err := withoutService("rabbitmq-server", func() error { return aptInstall(ctx, "rabbitmq-server") })
	if err == nil {
		if tools, ok := findRabbit(rabbitFolders()...); ok {
			return tools, nil
		}
		err = errors.New("the package rabbitmq-server has no programs where they are expected")
	}
	return rabbitTools{}, fmt.Errorf("no RabbitMQ: %w. Install it, or set WAYBILL_TEST_RABBITMQ to a folder with sbin/rabbitmq-server", err)
}

// rabbitFolders are where packages put RabbitMQ's own scripts. The rabbitmq-server on PATH is none of them: Debian's wrapper changes the user and drops the
// environment.
func rabbitFolders() []string {
	folders := []string{"/usr/lib/rabbitmq/bin"}
	for _, pattern := range []string{"/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin", "/opt/homebrew/opt/rabbitmq/sbin", "/usr/local/opt/rabbitmq/sbin"} {
		found, _ := filepath.Glob(pattern)
		folders = append(folders, found...)
	}
	return folders
}

func findRabbit(folders ...string) (rabbitTools, bool) {
	epmd, err := exec.LookPath("epmd")
	if err != nil {
		found, _ := filepath.Glob("/usr/lib/erlang/erts-*/bin/epmd")
		if len(found) == 0 {
			return rabbitTools{}, false
		}
		epmd = found[0]
	}
	for _, sbin := range folders {
		if _, err := exec.LookPath(filepath.Join(sbin, "rabbitmq-server")); err == nil {
			return rabbitTools{sbin: sbin, epmd: epmd}, true
		}
	}
	return rabbitTools{}, false
}

// policyFile is asked by Debian's packages before they start a service (invoke-rc.d(8)).
const policyFile = "/usr/sbin/policy-rc.d"

// withoutService installs a package without its system service: it is not started now, and not at the next boot. A policy that the machine has already stays
// as it is; one of ours refuses this service alone and is gone afterwards.
func withoutService(service string, install func() error) error {
	if os.Geteuid() != 0 {
		return install() // which says that only root can
	}
	policy := fmt.Sprintf("#!/bin/sh\n# made by Waybill's tests while they install a package; may be removed\n[ \"$1\" != %s ] || exit 101\n", service)
	file, err := os.OpenFile(policyFile, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err == nil {
		_, err = file.WriteString(policy)
		err = errors.Join(err, file.Close())
		defer os.Remove(policyFile)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := install(); err != nil {
		return err
	}
	if disable, err := exec.LookPath("update-rc.d"); err == nil {
		return run(exec.Command(disable, service, "disable"))
	}
	return nil
}
