// Package outboxtest has assertions for tests of applications that publish: what did this transaction publish? They look into the open transaction, before
// COMMIT or ROLLBACK, so no relay and no cleaning up is needed.
//
// The login of the test must be allowed to read the outbox (a superuser, or a member of <schema>_owner); the login of an application is not.
package outboxtest
