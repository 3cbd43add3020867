// Package view is the JSON that programs read: what `-o json` prints and the HTTP API answers, in one place, so that both are one contract. 64-bit numbers are
// text, times RFC 3339 in UTC, what is not known is left out, and a list is never null.
//
// Absent on purpose: payloads and header values but in Revealed, which is masked already, and any text for people; a shape only says what the plain types of relay know.
package view
