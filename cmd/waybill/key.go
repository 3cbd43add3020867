package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
	"github.com/waybillmq/waybill/internal/view"
	"github.com/waybillmq/waybill/relay"
)

func newKey(p *program) *cobra.Command {
	c := &cobra.Command{Use: "key", Short: "List closed keys; retry, skip or discard what holds them", GroupID: groupSee, Args: cobra.NoArgs,
		Long: "A key is closed while one of its messages, its head, is dead or retrying: the others wait as blocked.",
		RunE: func(*cobra.Command, []string) error {
			return usage("key needs a verb: list, get, retry, skip or discard")
		}}
	c.AddCommand(newKeyList(p), newKeyGet(p), newKeyAct(p, app.ActRetry), newKeyAct(p, app.ActSkip), newKeyAct(p, app.ActDiscard))
	return c
}

func newKeyList(p *program) *cobra.Command {
	var after relay.Key
	var limit int
	c := &cobra.Command{Use: "list", Short: "List closed keys with their heads", Args: cobra.NoArgs,
		Example: "  waybill key list\n  waybill key list -o id | waybill message retry - --yes     # their heads",
		RunE: p.do(func(ctx context.Context, _ []string) error {
			if limit < 1 || limit > relay.MaxPage {
				return usage(fmt.Sprintf("--limit is 1 to %d", relay.MaxPage))
			}
			return p.people(func(people *app.People) error { return p.keyList(ctx, people, after, limit) })
		})}
	c.Flags().StringVar(&after.Topic, "after-topic", "", "topic of the last key of the page before")
	c.Flags().StringVar(&after.Key, "after-key", "", "last key of the page before")
	c.Flags().IntVar(&limit, "limit", relay.DefaultPage, fmt.Sprintf("most keys, up to %d", relay.MaxPage))
	return c
}

func (p *program) keyList(ctx context.Context, people *app.People, after relay.Key, limit int) error {
	if err := people.CheckSchema(ctx); err != nil {
		return err
	}
	list, err := people.Keys(ctx, after, limit)
	if err != nil {
		return err
	}
	t := table{kind: "KeyList", wide: 3, capped: list.More, columns: []string{"TOPIC", "KEY", "HEAD", "STATE", "CLASS", "SINCE", "BEHIND", "ATTEMPTS", "NEXT", "ERROR"}}
	for _, k := range list.Items {
		t.rows = append(t.rows, []string{k.Topic, k.Key.Key, k.Head.String(), string(k.State), k.Class, clock(k.Since), k.Behind.String(), strconv.Itoa(k.Attempts), clock(k.DueAt), k.Error})
		t.items, t.ids = append(t.items, view.OfKey(k)), append(t.ids, k.Head.String())
	}
	if list.More {
		last := list.Items[len(list.Items)-1]
		p.note("there is more: add --after-topic %q --after-key %q", last.Topic, last.Key.Key)
	}
	return p.printTable(t)
}

func newKeyGet(p *program) *cobra.Command {
	return &cobra.Command{Use: "get TOPIC KEY", Short: "What holds a key, and how much waits behind it", Args: cobra.ExactArgs(2),
		RunE: p.do(func(ctx context.Context, args []string) error {
			return p.people(func(people *app.People) error {
				k, err := p.closedKey(ctx, people, args)
				if err != nil {
					return err
				}
				return p.printItem("Key", view.OfKey(k), k.Head.String(), func(w io.Writer) {
					fmt.Fprintf(w, "%s of %s is closed since %s\n", clean(k.Key.Key), clean(k.Topic), clock(k.Since))
					fmt.Fprintf(w, "head    %d, %s after %d attempts: %s %s\n", k.Head, k.State, k.Attempts, clean(k.Class), clean(k.Error))
					if !k.DueAt.IsZero() {
						fmt.Fprintf(w, "next    %s\n", clock(k.DueAt))
					}
					fmt.Fprintf(w, "behind  %s messages\n", k.Behind)
				})
			})
		})}
}

func (p *program) closedKey(ctx context.Context, people *app.People, args []string) (relay.KeyInfo, error) {
	if err := people.CheckSchema(ctx); err != nil {
		return relay.KeyInfo{}, err
	}
	k, err := people.Key(ctx, relay.Key{Topic: args[0], Key: args[1]})
	if err != nil && exitCode(err) == exitNotFound {
		return k, &exitError{exitNotFound, fmt.Errorf("key %q of topic %q is not closed: nothing of it is dead, retrying or blocked", args[1], args[0])}
	}
	return k, err
}

func newKeyAct(p *program, name app.ActName) *cobra.Command {
	var s consent
	short := map[app.ActName]string{app.ActRetry: "Try the head of a key again now", app.ActSkip: "Let a key go on past its dead head",
		app.ActDiscard: "Give the head of a key up for good; the key goes on"}[name]
	c := &cobra.Command{Use: string(name) + " TOPIC KEY", Short: short, Args: cobra.ExactArgs(2), Long: short + ". " + map[app.ActName]string{
		app.ActRetry: "What waits behind it follows when it is sent.",
		app.ActSkip:  "The head stays dead; what waits behind it goes on now: the order is broken at this place.",
		app.ActDiscard: "Only the head: what waits behind it goes on in order. It can be taken back by message retry while its row exists.\n" +
			"To give up everything of a key: waybill message discard --filter 'topic:T key:K' --reason R",
	}[name]}
	s.flags(c, name != app.ActRetry)
	c.RunE = p.do(func(ctx context.Context, args []string) error {
		if err := s.check(name); err != nil {
			return err
		}
		return p.people(func(people *app.People) error {
			k, err := p.closedKey(ctx, people, args)
			if err != nil {
				return err
			}
			pl, err := makePlan(ctx, people, name, []string{k.Head.String()})
			if err != nil {
				return err
			}
			return p.act(ctx, people, pl, s, false)
		})
	})
	return c
}
