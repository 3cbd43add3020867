package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/pprof"
	"syscall"
	"time"
)

// The kinds of a job.
const (
	jobRelay = "relay" // the engine, as `waybill run` has it
	jobLoop  = "loop"  // the textbook: SELECT … FOR UPDATE SKIP LOCKED, publish, UPDATE, COMMIT

	jobNative = "native" // the best loop of a broker's client library, without a database

	jobAppend  = "append"  // producers of the bundled broker
	jobGroups  = "groups"  // the same into a file, one sync for all that wait
	jobFiles   = "files"   // the same into a file for each lane, one sync for each request
	jobFill    = "fill"    // producers of the bundled broker that never stop, until they are killed
	jobRestart = "restart" // the bundled broker comes up again
)

// job is what a worker does. It travels by a pipe: the URL holds a password.
type job struct {
	Kind    string
	URL     string
	First   int64 // lowest id
	Rows    int64 // how many ids, without a gap; 0 = run until told to stop (relay only)
	Brokers []string
	Queue   *queueServer  // instead of Brokers: a RocketMQ or a RabbitMQ
	Topic   string        // at the broker
	Ack     time.Duration // of the stub that stands for the broker when there is none
	Workers int           // of the loop
	Page    int           // rows of a transaction of the loop
	Profile string        // file for a CPU profile of the timed part; empty = none
	Idle    bool          // look at the memory again idleAfter the end

	Dir     string        // folder of the bundled broker, or of the files in its place; of a relay: send there
	Segment int64         // bytes of a segment of its log
	Keep    int64         // most bytes that it keeps; 0 = no bound
	Load    load          // of producers
	For     time.Duration // how long they produce
	Bytes   int64         // how much a fill writes before it reports, and producers before they are timed
	Acked   []int64       // by lane: what a restart must find
	Acks    bool          // of a relay: report when each message was acked
	Cache   string        // of a relay: the broker is down until the degraded cache in this folder has the backlog
	Poison  int64         // of a relay: the stub refuses each message whose id is a multiple of it; 0 = none
	Release int64         // of a relay: the dead message that is retried once it runs; 0 = none
}

// report is what a worker measured from the start of the work to the mark of the last message.
type report struct {
	Seconds    float64
	CPUSeconds float64 // of the worker's process
	PeakBytes  int64   // resident memory, highest so far; 0 = cannot be told here
	Error      string

	Held     int64           `json:",omitempty"` // messages of the backlog that were set aside
	Fill     float64         `json:",omitempty"` // seconds until the degraded cache had the backlog; Seconds count from then on
	Count    int64           `json:",omitempty"` // messages that producers stored
	P50, P99 float64         `json:",omitempty"` // ms of a request
	Acked    []int64         `json:",omitempty"` // by lane: messages stored when a fill reports
	AckedAt  map[int64]int64 `json:",omitempty"` // by number of the message: when, ns since 1970
}

// task is a job made ready: connections, clients and everything else that a service makes once.
type task struct {
	run   func(ctx context.Context) (time.Duration, error) // the timed part
	check func() error                                     // of what arrived; after run
	close func() error

	report // what run and check found out besides
}

func (j *job) prepare(ctx context.Context) (*task, error) {
	switch j.Kind {
	case jobRelay:
		return prepareRelay(ctx, j)
	case jobLoop:
		return prepareLoop(ctx, j)
	case jobNative:
		return prepareNative(ctx, j)
	case jobAppend, jobGroups, jobFiles:
		return prepareAppend(ctx, j)
	case jobFill:
		return prepareFill(ctx, j)
	case jobRestart:
		return prepareRestart(ctx, j)
	}
	return nil, fmt.Errorf("bench: a worker was asked for %q", j.Kind)
}

// measure runs the timed part.
func (t *task) measure(ctx context.Context, profile string) (r report, err error) {
	if profile != "" {
		file, err := os.Create(profile)
		if err != nil {
			return r, err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return r, err
		}
	}
	before := ownCPU()
	took, err := t.run(ctx)
	pprof.StopCPUProfile()
	cpu, peak := ownCPU()-before, peakMemory(os.Getpid()) // the check is not part of them
	err = errors.Join(err, t.check())
	r = t.report
	r.Seconds, r.CPUSeconds, r.PeakBytes = took.Seconds(), cpu.Seconds(), peak
	return r, err
}

// ownCPU is the CPU time of this process so far.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
