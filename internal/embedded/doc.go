// Package embedded runs a private PostgreSQL that this program itself starts: for `waybill demo` and for tests. It finds the server's binaries on the
// machine, or fetches a pinned release into the user's cache folder (Obtain), makes the data folder, starts the server on a loopback port of its own with a
// random password, and ends it with the program, also after kill -9 (on Linux; elsewhere the next start in the same folder ends what was left).
//
// Absent on purpose: it runs nothing fetched whose checksum is not part of this program, it never touches a server or a data folder that it did not make, and
// it is no way to run production databases.
package embedded
