// Package commitlog is the log under the bundled broker and the degraded cache: what is appended is on disk, synced, when [Log.Append] returns.
//
// All streams share one log, a row of segments of equal size. What waits while a sync runs becomes one frame, and one sync makes it durable: many producers pay
// for one. The package knows streams, indexes and kinds of records; it knows nothing of raft, topics or messages.
//
// Why nothing acknowledged is lost rests on four facts:
//
//   - A frame is written only after the sync of the one before has returned, so at most one frame is ever in doubt.
//   - Frames begin on pages of their own: no write touches a page that holds synced bytes.
//   - Each frame carries a CRC over itself and, through its seed, over all before it, and the random nonce of its segment: neither a torn frame nor the old
//     bytes of a recycled segment pass for good.
//   - A frame that no longer parses although a later one stands is damage, never just a shorter log; see [Scan].
//
// After an error of a write or a sync the log is closed for ever: the kernel may have marked the lost pages clean, so a second try proves nothing.
//
// Start reading at format.go; scan.go says what a damaged log is, log.go how records get in.
package commitlog
