package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybillmq/waybill/internal/app"
	"github.com/waybillmq/waybill/internal/config"
)

func newConfigTest(p *program) *cobra.Command {
	var given config.Given
	c := &cobra.Command{Use: "test", Short: "Say which message goes where, without connecting to anything", Args: cobra.NoArgs,
		Long: "Runs the route_tests of the configuration, or, with --topic, says where one message goes. Exits 78 when a test fails or no route takes the message.",
		Example: "  waybill config test\n" +
			"  waybill config test --topic payment.captured --type captured --header region=eu"}
	f := c.Flags()
	f.StringVar(&given.Topic, "topic", "", "topic of a message")
	f.StringVar(&given.Key, "key", "", "its key")
	f.StringVar(&given.Type, "type", "", "its type")
	f.StringToStringVar(&given.Headers, "header", nil, "its headers, name=value")
	c.RunE = p.do(func(context.Context, []string) error {
		if given.Topic == "" && (given.Key != "" || given.Type != "" || len(given.Headers) > 0) {
			return usage("--key, --type and --header describe a message: give its --topic too")
		}
		l, err := p.load(true)
		if err != nil {
			return err
		}
		var tests []app.RouteTest
		if given.Topic != "" {
			tests, err = app.TestRoutes(l.Config, []config.Given{given})
		} else {
			tests, err = app.RunRouteTests(l.Config)
		}
		if err != nil {
			return err
		}
		return p.routeTests(tests, given.Topic == "")
	})
	return c
}

// routeTests prints where messages go. expected: they have expectations.
func (p *program) routeTests(tests []app.RouteTest, expected bool) error {
	t := table{kind: "RouteTestList", columns: []string{"RESULT", "MESSAGE", "ROUTE", "GOES TO", "WRONG"}}
	failed := 0
	for _, test := range tests {
		result := "ok"
		if len(test.Wrong) > 0 || !expected && test.Goes.Route == "" {
			result, failed = "FAIL", failed+1
		}
		t.rows = append(t.rows, []string{result, describeGiven(test.Given), test.Goes.Route, test.Goes.String(), strings.Join(test.Wrong, "; ")})
		t.items, t.ids = append(t.items, test), append(t.ids, test.Given.Topic)
	}
	if err := p.printTable(t); err != nil {
		return err
	}
	switch {
	case len(tests) == 0:
		p.note("the configuration has no route_tests; waybill config test --topic TOPIC says where a message goes")
	case failed > 0 && expected:
		return &exitError{exitConfig, fmt.Errorf("%d of %d route tests fail", failed, len(tests))}
	case failed > 0 && len(tests[0].Wrong) > 0:
		return &exitError{exitConfig, fmt.Errorf("topic %s: %s", clean(tests[0].Given.Topic), strings.Join(tests[0].Wrong, "; "))}
	case failed > 0:
		return &exitError{exitConfig, fmt.Errorf("no route takes topic %s: such messages wait with no_route", clean(tests[0].Given.Topic))}
	}
	return nil
}

func describeGiven(g config.Given) string {
	text := []string{g.Topic}
	if g.Key != "" {
		text = append(text, "key="+g.Key)
	}
	if g.Type != "" {
		text = append(text, "type="+g.Type)
	}
	for _, name := range slices.Sorted(maps.Keys(g.Headers)) {
		text = append(text, name+"="+g.Headers[name])
	}
	return strings.Join(text, " ")
}
