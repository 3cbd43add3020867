package replica

import "sync"

// mailbox hands things from many goroutines to one, in order and without a bound: what goes through it is bounded where it is admitted.
type mailbox[T any] struct {
	mu    sync.Mutex
	items []T
	ready chan struct{} // one slot
}

func newMailbox[T any]() *mailbox[T] { return &mailbox[T]{ready: make(chan struct{}, 1)} }

func (b *mailbox[T]) put(items ...T) {
	b.mu.Lock()
	b.items = append(b.items, items...)
	b.mu.Unlock()
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// take returns what lies there; nothing is left.
func (b *mailbox[T]) take() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	items := b.items
	b.items = nil
	return items
}
