package relay

import "time"

// pace decides when the reader reads next. While more rows are known to wait: at once. At a steady trickle (more than wakesPerSecond bursts of rows in the
// last second): after a short pause that doubles with each empty read but the first, because a NOTIFY for each wake-up costs the writers more than polling.
// Otherwise it reads again at once after rows; then it asks to be woken, reads once more, and only then sleeps. Pure.
type pace struct {
	busy, idle time.Duration
	armed      bool
	rows       []time.Time // starts of the last bursts of rows, at most wakesPerSecond+1
	quiet      bool        // the last read left nothing
	empty      int         // reads since the last one that brought rows
}

const (
	wakesPerSecond = 20
	busyDoublings  = 2 // a slow trickle is asked for a quarter as often: a read costs the database the same whether it brings something or not
)

// step is what the reader does next.
type step struct {
	wait time.Duration // 0 = read at once
	wake bool          // a wake-up ends the wait early
	arm  bool          // ask to be woken, before reading once more
	calm bool          // tell that nobody needs to wake us, before reading
}

// next is asked after each read: whether it brought rows, and whether more are known to wait.
func (p *pace) next(rows, more bool, now time.Time) step {
	if rows && p.quiet {
		p.rows = append(p.rows, now)
		if len(p.rows) > wakesPerSecond+1 {
			p.rows = p.rows[1:]
		}
	}
	p.quiet = !more
	calm := rows && p.armed
	p.empty++
	if rows {
		p.armed, p.empty = false, 0
	}
	switch trickle := len(p.rows) > wakesPerSecond && now.Sub(p.rows[0]) < time.Second; {
	case more:
		return step{calm: calm}
	case trickle:
		return step{wait: p.busy << min(max(p.empty-1, 0), busyDoublings), calm: calm}
	case rows:
		return step{calm: calm}
	}
	if !p.armed {
		p.armed = true
		return step{arm: true}
	}
	return step{wait: p.idle, wake: true}
}
