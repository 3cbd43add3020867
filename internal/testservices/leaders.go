package testservices

import (
	"context"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go"
)

// MoveLeaders makes node `to` the leader of the first count partitions of a topic, as an administrator does: it becomes the preferred replica, and the preferred
// replica is elected. It returns when the controller has done so; the other nodes, and clients, learn of it a moment later. The node must be up and in sync.
func (c *Cluster) MoveLeaders(topic string, count, to int) error {
	replicas := []int{to}
	for _, n := range c.nodes {
		if n.number != to {
			replicas = append(replicas, n.number)
		}
	}
	prefer := &kafka.AlterPartitionReassignmentsRequest{Topic: topic, Timeout: topicTimeout}
	elect := &kafka.ElectLeadersRequest{Topic: topic, Timeout: topicTimeout}
	for p := range count {
		prefer.Assignments = append(prefer.Assignments, kafka.AlterPartitionReassignmentsRequestAssignment{PartitionID: p, BrokerIDs: replicas})
		elect.Partitions = append(elect.Partitions, p)
	}
	err := c.admin(func(ctx context.Context, client *kafka.Client) error {
		res, err := client.AlterPartitionReassignments(ctx, prefer)
		if err != nil {
			return err
		}
		errs := []error{res.Error}
		for _, r := range res.PartitionResults {
			errs = append(errs, r.Error)
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
		return until(ctx, func() (bool, error) { return elected(ctx, client, elect) })
	})
	if err != nil {
		return fmt.Errorf("make node %d lead %d partitions of topic %s: %w", to, count, topic, err)
	}
	return nil
}

// elected asks for the election; false = a replica is still on its way into the in-sync set, or another leader of the controllers is needed.
func elected(ctx context.Context, client *kafka.Client, q *kafka.ElectLeadersRequest) (bool, error) {
	res, err := client.ElectLeaders(ctx, q)
	if err != nil {
		return false, err
	}
	errs := []error{res.Error}
	for _, r := range res.PartitionResults {
		errs = append(errs, r.Error)
	}
	for _, err := range errs {
		switch {
		case err == nil, errors.Is(err, kafka.ElectionNotNeeded):
		case errors.Is(err, kafka.PreferredLeaderNotAvailable), errors.Is(err, kafka.NotController):
			return false, nil
		default:
			return false, err
		}
	}
	return true, nil
}
