// Package testservices starts the real servers that tests run against: PostgreSQL 15 and 18, Kafka, RocketMQ and RabbitMQ, as plain processes on loopback
// ports, without a container engine or a system service. What is missing is installed once per machine; a server that cannot be started fails the test in one
// sentence and never skips it.
//
// A shared server (Postgres, Kafka, RocketMQ, RabbitMQ) starts with the first test of the process that asks and ends with the process, also after kill -9. A
// server of one's own (PostgresServer, KafkaCluster, RocketMQCluster, RabbitMQCluster) is there to be killed, paused and promoted, and ends with its test. Main,
// called from TestMain, stops the shared ones and fails on leftovers. The constructors named New… do without testing.TB; serve is a program around them.
//
// Environment: WAYBILL_TEST_POSTGRES_15 and WAYBILL_TEST_POSTGRES_18 name a folder with that version's binaries, which then wins; WAYBILL_TEST_KAFKA and
// WAYBILL_TEST_ROCKETMQ name a folder with the jars, WAYBILL_TEST_RABBITMQ one with RabbitMQ's sbin.
package testservices
