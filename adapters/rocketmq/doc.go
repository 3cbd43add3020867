// Package rocketmq publishes to Apache RocketMQ 4.9 and 5 through name server and broker (the remoting protocol; the gRPC proxy of 5.x is not spoken).
//
// A lane is a queue of a topic, with one SendSync of the client library in flight. Only SEND_OK is acked: FLUSH_DISK_TIMEOUT, FLUSH_SLAVE_TIMEOUT and
// SLAVE_NOT_AVAILABLE mean that the master has the message and may lose it, so they are unknown. RocketMQ recognises no repeat: an unknown batch that is
// presented again may be stored twice.
//
// The library routes and sends, nothing else: its retries, its queue selection and its compression are off, its logger and its panics are caught. Questions (routes,
// settings, the cluster) go over connections of our own, with our own codec of the protocol.
//
// Left out: TLS, because the library has no hook for a connection; delays, which stay in the outbox; the creation of topics, except for tests and demonstrations.
package rocketmq
