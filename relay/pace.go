package relay

import "time"

// pace decides when the reader reads next. After rows: at once. After an empty read at a steady trickle (more than wakesPerSecond wake-ups in the last
// second): a short pause, because a NOTIFY for each wake-up costs the writers more than polling. Otherwise it asks to be woken, reads once more, and only
// then sleeps. Pure.
type pace struct {
	busy, idle time.Duration
	armed      bool
	rows       []time.Time // starts of the last bursts of rows, at most wakesPerSecond+1
	quiet      bool        // the last read was empty
}

const wakesPerSecond = 20

// step is what the reader does next.
type step struct {
	wait time.Duration // 0 = read at once
	wake bool          // a wake-up ends the wait early
	arm  bool          // ask to be woken, before reading once more
	calm bool          // tell that nobody needs to wake us, before reading
}

func (p *pace) next(rows bool, now time.Time) step {
	if rows {
		if p.quiet {
			p.rows = append(p.rows, now)
			if len(p.rows) > wakesPerSecond+1 {
				p.rows = p.rows[1:]
			}
		}
		p.quiet = false
		calm := p.armed
		p.armed = false
		return step{calm: calm}
	}
	p.quiet = true
	if len(p.rows) > wakesPerSecond && now.Sub(p.rows[0]) < time.Second {
		return step{wait: p.busy}
	}
	if !p.armed {
		p.armed = true
		return step{arm: true}
	}
	return step{wait: p.idle, wake: true}
}
