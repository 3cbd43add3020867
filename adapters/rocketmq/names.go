package rocketmq

import (
	"context"
	"errors"
	"sync"
	"time"
)

// names has f ask one name server after the other until one gives a definite answer, the one that did so last first.
func (p *prober) names(ctx context.Context, f func(*link) error) error {
	var errs []error
	first := int(p.good.Load())
	for i := range p.servers {
		n := (first + i) % len(p.servers)
		l, err := p.dial(ctx, p.servers[n])
		if err == nil {
			err = f(l)
			l.Close()
		}
		var answer *answerError
		var login *loginError
		if err == nil || errors.As(err, &answer) || errors.As(err, &login) {
			p.good.Store(int32(n))
			return err
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// laterBy is how much longer than for the first answer the other name servers are waited for.
const laterBy = 500 * time.Millisecond

// all has f ask every name server at the same time, and merges what they say in the order of the configuration: one that has just been started, or that a broker
// cannot reach, knows less than another. The error is that of a definite answer, when nobody gave a better one.
func all[T any](ctx context.Context, p *prober, f func(*link) (T, error), merge func(a, b T) T) (T, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found, errs := make([]T, len(p.servers)), make([]error, len(p.servers))
	var asking sync.WaitGroup
	for i, addr := range p.servers {
		asking.Go(func() {
			var l *link
			if l, errs[i] = p.dial(ctx, addr); errs[i] != nil {
				return
			}
			defer l.Close()
			if found[i], errs[i] = f(l); errs[i] == nil {
				p.good.Store(int32(i))
				time.AfterFunc(laterBy, cancel)
			}
		})
	}
	asking.Wait()
	var sum T
	var definite error
	heard := false
	for i, err := range errs {
		var answer *answerError
		var login *loginError
		switch {
		case err == nil && heard:
			sum = merge(sum, found[i])
		case err == nil:
			sum, heard = found[i], true
		case definite == nil && (errors.As(err, &answer) || errors.As(err, &login)):
			definite = err
		}
	}
	switch {
	case heard:
		return sum, nil
	case definite != nil:
		return sum, definite
	}
	return sum, errors.Join(errs...)
}

// brokers are those that any name server knows.
func (p *prober) brokers(ctx context.Context) (*cluster, error) {
	return all(ctx, p, func(l *link) (*cluster, error) { return l.cluster(ctx) }, mergeClusters)
}
