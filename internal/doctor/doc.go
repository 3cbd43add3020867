// Package doctor judges whether an outbox is set up so that it keeps its promises: facts in, findings out. It asks nobody anything; who collects the facts is in
// adapters/postgres (Examine), in the publishers (Check) and in internal/app.
//
// Absent on purpose: what is happening to messages. That is `waybill status` and `waybill why`; the doctor is about what was set up and by whom.
package doctor
