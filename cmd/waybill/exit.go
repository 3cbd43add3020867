package main

import (
	"context"
	"errors"

	"github.com/waybillmq/waybill/internal/config"
	"github.com/waybillmq/waybill/migrations"
	"github.com/waybillmq/waybill/relay"
)

// Exit codes, a contract for scripts.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitRefused     = 4 // role, guard, changed state, not confirmed
	exitPartly      = 5
	exitUnhealthy   = 6
	exitTimedOut    = 7
	exitConfig      = 78
	exitInterrupted = 130
)

// exitError is an error with a code of its own; without a text nothing is printed.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usage(text string) error { return &exitError{exitUsage, errors.New(text)} }

// exitCode sorts an error by type.
func exitCode(err error) int {
	var own *exitError
	var problems config.Problems
	var wrong *relay.ConfigError
	var state *relay.StateError
	switch {
	case errors.As(err, &own):
		return own.code
	case errors.As(err, &problems), errors.As(err, &wrong):
		return exitConfig
	case errors.Is(err, relay.ErrNotFound):
		return exitNotFound
	case errors.Is(err, relay.ErrDenied), errors.Is(err, relay.ErrBusy), errors.Is(err, migrations.ErrUnsent), errors.Is(err, migrations.ErrNothingToAdopt),
		errors.Is(err, relay.ErrTooMany), errors.As(err, &state):
		return exitRefused
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimedOut
	}
	return exitFailed
}
