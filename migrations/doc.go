// Package migrations holds the database schema of an outbox as numbered plain SQL and applies it.
//
// The files are written for the schema "outbox"; another name replaces it everywhere (schema, role prefix, NOTIFY channel, seed of the key lock) before the
// SQL is parsed. They can be printed for other migration tools. What is absent on purpose: no command of the relay changes the schema by itself, and no
// migration goes down while messages are pending or held.
//
// Compatibility: a schema serves the programs of its own and of the previous minor release; files only add (expand) and remove a release later (contract).
package migrations
