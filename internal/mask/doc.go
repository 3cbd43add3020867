// Package mask hides parts of what messages carry from people: values of headers by their names, values of JSON by their paths. It is pure. Where a mask cannot be applied it
// says why and gives nothing: whatever is in doubt stays hidden.
//
// Absent on purpose: masks for anything but JSON, filters in paths, text that holds JSON inside JSON.
package mask
