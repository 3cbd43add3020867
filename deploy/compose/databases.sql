-- The profile kafka has an outbox of its own.
CREATE DATABASE orders_kafka;
