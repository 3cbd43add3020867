// Package rabbitmq publishes to RabbitMQ with publisher confirms, and to what speaks AMQP 0-9-1 with its extensions.
//
// A message is acked only when the broker has confirmed this very delivery and has not returned it: an unroutable message is confirmed too, right behind its
// return. A lane is an exchange and one of a few channels, chosen by the key; the default exchange has no name, there the queue stands for it. A generation is
// one connection and its channels: when it ends, whatever was not confirmed is unknown, and the next Publish makes a new one.
//
// Start reading at Publisher.Publish, then lane.run (what is sent and awaited), window.go (in which order), and outcome.go (what an answer means).
//
// What is absent on purpose: retries, back-off and breaker (the engine owns them), the library's own recovery (it nacks and goes on), the declaration of queues
// and bindings, streams' native protocol, priorities and expiration.
package rabbitmq
