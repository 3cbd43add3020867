package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
	"github.com/waybillmq/waybill/internal/view"
	"github.com/waybillmq/waybill/relay"
)

func newMessage(p *program) *cobra.Command {
	c := &cobra.Command{Use: "message", Short: "List, look at, retry, skip and discard messages", GroupID: groupSee, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return usage("message needs a verb: list, get, attempts, retry, skip or discard")
		}}
	c.AddCommand(newMessageList(p), newMessageGet(p), newMessageAttempts(p))
	for _, name := range []app.ActName{app.ActRetry, app.ActSkip, app.ActDiscard} {
		c.AddCommand(newMessageAct(p, name))
	}
	return c
}

func newMessageList(p *program) *cobra.Command {
	var before int64
	var limit int
	c := &cobra.Command{Use: "list [FILTER]", Short: "List messages, newest first",
		Long: `Lists messages, newest first. A filter has terms name:value, all of which must hold; comma = or, -name: = not, quotes for blanks, * in a topic.
Names: ` + strings.Join(relay.FilterNames, " ") + `.
States: pending sent dead discarded, and of pending ones retrying blocked scheduled.
destination and class are those of held messages. What has no index is searched 10,000 messages at a time.`,
		Example: "  waybill message list state:dead class:too_large\n  waybill message list 'topic:order.* age>10m -state:sent'\n" +
			"  waybill message list key:4711 --limit 5",
		RunE: p.do(func(ctx context.Context, args []string) error {
			f, err := relay.ParseFilter(strings.Join(args, " "))
			if err != nil {
				return usage(err.Error())
			}
			if limit < 1 || limit > relay.MaxPage {
				return usage(fmt.Sprintf("--limit is 1 to %d", relay.MaxPage))
			}
			return p.people(func(people *app.People) error { return p.messageList(ctx, people, f, relay.ID(before), limit) })
		})}
	c.Flags().Int64Var(&before, "before", 0, "only ids below this one: the next page")
	c.Flags().IntVar(&limit, "limit", relay.DefaultPage, fmt.Sprintf("most messages, up to %d", relay.MaxPage))
	return c
}

func (p *program) messageList(ctx context.Context, people *app.People, f relay.Filter, before relay.ID, limit int) error {
	if err := people.CheckSchema(ctx); err != nil {
		return err
	}
	list, err := people.Messages(ctx, f, before, limit)
	if err != nil {
		return err
	}
	t := table{kind: "MessageList", wide: 5, columns: []string{"ID", "STATE", "TOPIC", "KEY", "WRITTEN", "ATTEMPTS", "CLASS", "MESSAGE_ID", "DESTINATION", "NEXT", "BYTES", "ERROR"}}
	for _, m := range list.Items {
		t.rows = append(t.rows, []string{m.ID.String(), stateOf(m), m.Topic, m.Key, clock(m.CreatedAt), strconv.Itoa(m.Attempts), m.Class, m.MessageID, m.Destination,
			clock(m.DueAt), strconv.Itoa(m.Size), m.Error})
		t.items, t.ids = append(t.items, view.OfRow(m)), append(t.ids, m.ID.String())
	}
	if list.Next != 0 {
		t.next, t.capped = list.Next.String(), true
	}
	if list.Searched > 0 {
		p.note("searched %d messages; continue with --before %d", list.Searched, list.Next)
	}
	return p.printTable(t)
}

func newMessageGet(p *program) *cobra.Command {
	return &cobra.Command{Use: "get ID", Short: "State and place of one message, in one answer", Args: cobra.ExactArgs(1),
		RunE: p.do(func(ctx context.Context, args []string) error {
			return p.people(func(people *app.People) error {
				id, err := p.find(ctx, people, args[0])
				if err != nil {
					return err
				}
				m, err := people.Message(ctx, id)
				if err != nil {
					return err
				}
				return p.printItem("Message", view.OfMessage(m), id.String(), func(w io.Writer) { writeMessage(w, m) })
			})
		})}
}

// find resolves an id or message id.
func (p *program) find(ctx context.Context, people *app.People, ref string) (relay.ID, error) {
	if err := people.CheckSchema(ctx); err != nil {
		return 0, err
	}
	id, err := people.Find(ctx, ref)
	if err != nil && exitCode(err) == exitNotFound {
		return 0, &exitError{exitNotFound, fmt.Errorf("there is no message %q; ask: waybill why %s", ref, ref)}
	}
	return id, err
}

func writeMessage(w io.Writer, m relay.MessageInfo) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(t, "%s\t%s\n", name, clean(value))
		}
	}
	state := strings.ToUpper(stateOf(m.MessageRow))
	if m.Sending {
		state += ", being sent"
	}
	if m.Passed {
		state += ", its key goes on"
	}
	line("state", state)
	line("id", m.ID.String())
	line("message id", m.MessageID)
	line("topic", m.Topic)
	line("key", m.Key)
	line("type", m.Type)
	line("payload", strings.TrimSpace(fmt.Sprintf("%d B %s", m.Size, m.ContentType)))
	line("headers", strings.Join(m.HeaderNames, ", "))
	line("traceparent", m.Traceparent)
	line("written", clock(m.CreatedAt))
	line("deliver after", clock(m.DeliverAfter))
	line("destination", m.Destination)
	if m.Attempts > 0 {
		line("attempts", strconv.Itoa(m.Attempts))
	}
	line("next attempt", clock(m.DueAt))
	line("first failed", clock(m.FirstFailedAt))
	if m.Outcome != "" {
		line("last failure", strings.TrimSpace(m.Outcome+" "+m.Class+" "+m.Code)+": "+m.Error)
	}
	if m.Behind > 0 {
		line("holds back", m.Behind.String()+" messages of its key")
	}
	if m.Head != 0 {
		line("waits for", fmt.Sprintf("%d, %s", m.Head, m.HeadState))
	}
	line("discarded", clock(m.DiscardedAt))
	line("by", m.DiscardedBy)
	line("reason", m.Reason)
	for _, place := range m.Places {
		at := place.Destination + " " + place.Lane
		if place.HasOffset {
			at += fmt.Sprintf(" offset %d", place.Offset)
		}
		line("sent", fmt.Sprintf("%s  %s  epoch %d", clock(place.AckedAt), at, place.Epoch))
	}
	t.Flush()
}

func newMessageAttempts(p *program) *cobra.Command {
	return &cobra.Command{Use: "attempts ID", Short: "The failed tries of one message, oldest first", Args: cobra.ExactArgs(1),
		RunE: p.do(func(ctx context.Context, args []string) error {
			return p.people(func(people *app.People) error {
				id, err := p.find(ctx, people, args[0])
				if err != nil {
					return err
				}
				attempts, err := people.Attempts(ctx, id)
				if err != nil {
					return err
				}
				t := table{kind: "AttemptList", wide: 2, columns: []string{"N", "AT", "OUTCOME", "CLASS", "TOOK", "INSTANCE", "LANE", "CODE", "ERROR"}}
				for _, a := range attempts {
					t.rows = append(t.rows, []string{strconv.Itoa(a.N), clock(a.At), a.Outcome, a.Class, a.Took.Round(100 * time.Microsecond).String(), a.Instance, a.Lane, a.Code, a.Error})
					t.items, t.ids = append(t.items, view.OfAttempt(a)), append(t.ids, strconv.Itoa(a.N))
				}
				return p.printTable(t)
			})
		})}
}
