package testservices

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"text/template"
	"time"
)

//go:embed rocketmq.pom.xml
var rocketPOM []byte

//go:embed rocketmq.conf
var rocketConf string

//go:embed rocketmq.logback.xml
var rocketLogback []byte

//go:embed rocketmq.shim
var rocketShim []byte

var rocketTemplate = template.Must(template.New("rocketmq.conf").Parse(rocketConf))

const rocketVersion = "4.9.7"

// rocketUsed says that this process ran a RocketMQ, whose Go client lets go of its goroutines late.
var rocketUsed atomic.Bool

// rocketTools are what a RocketMQ runs on.
type rocketTools struct {
	java, jars string
	shim       string // preloaded library; empty where the system has none
}

// rocketJars finds Java, RocketMQ's jars and a C compiler's work; what is missing is installed.
func rocketJars(ctx context.Context) (t rocketTools, err error) {
	if t.java, err = program(ctx, "java", "default-jre-headless"); err != nil {
		return t, err
	}
	if t.shim, err = preload(ctx); err != nil {
		return t, err
	}
	if t.jars = os.Getenv("WAYBILL_TEST_ROCKETMQ"); t.jars != "" {
		if found, _ := filepath.Glob(filepath.Join(t.jars, "rocketmq-broker-*.jar")); len(found) == 0 {
			return t, fmt.Errorf("WAYBILL_TEST_ROCKETMQ: %s holds no rocketmq-broker-….jar", t.jars)
		}
		return t, nil
	}
	t.jars, err = cached("rocketmq-"+rocketVersion, func(dir string) error {
		return mavenCopy(ctx, dir, rocketPOM, "-Drocketmq.version="+rocketVersion)
	})
	if err != nil {
		err = fmt.Errorf("%w. Or set WAYBILL_TEST_ROCKETMQ to a folder with the jars of RocketMQ %s", err, rocketVersion)
	}
	return t, err
}

// preload compiles the library that keeps RocketMQ on loopback and slows its disk down.
func preload(ctx context.Context) (string, error) {
	if runtime.GOOS != "linux" {
		return "", nil
	}
	sum := sha256.Sum256(rocketShim)
	dir, err := cached("rocketmq-shim-"+hex.EncodeToString(sum[:6]), func(dir string) error {
		cc, err := program(ctx, "gcc", "gcc")
		if err != nil {
			return err
		}
		cmd := exec.CommandContext(ctx, cc, "-shared", "-fPIC", "-O1", "-o", filepath.Join(dir, "shim.so"), "-xc", "-", "-ldl")
		cmd.Stdin = bytes.NewReader(rocketShim)
		return run(cmd)
	})
	return filepath.Join(dir, "shim.so"), err
}

// SlowFlush makes each flush of the master's disk take that much longer from now on; 0 ends it. It works on Linux only.
func (r *Rocket) SlowFlush(by time.Duration) error {
	if r.tools.shim == "" {
		return errors.New("flushes can be slowed down on Linux only")
	}
	name := r.parts[Master].delayFile()
	if by == 0 {
		return os.Remove(name)
	}
	return os.WriteFile(name, []byte(strconv.FormatInt(by.Milliseconds(), 10)), 0o644)
}

func (p *rocketPart) delayFile() string { return filepath.Join(p.dir, "flush-delay-ms") }
func (p *rocketPart) home() string      { return filepath.Join(p.dir, "home") }

// writeHomes gives each part a ROCKETMQ_HOME and its configuration.
func (r *Rocket) writeHomes() error {
	for _, p := range r.pick(nil) {
		conf := filepath.Join(p.home(), "conf")
		errs := []error{os.MkdirAll(conf, 0o755)}
		for _, name := range []string{"logback_namesrv.xml", "logback_broker.xml"} {
			errs = append(errs, os.WriteFile(filepath.Join(conf, name), rocketLogback, 0o644))
		}
		if p.broker() {
			errs = append(errs, r.writeBroker(p))
		} else {
			text := fmt.Sprintf("listenPort=%d\nbindAddress=127.0.0.1\nkvConfigPath=%s\n", p.port.number, filepath.Join(p.dir, "kv.json"))
			errs = append(errs, os.WriteFile(p.conf(), []byte(text), 0o644))
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	if r.acl {
		return r.SetAccounts()
	}
	return nil
}

func (p *rocketPart) conf() string { return filepath.Join(p.dir, "server.conf") }

func (r *Rocket) writeBroker(p *rocketPart) error {
	servers := r.NameServers
	if r.blind {
		servers = servers[:1]
	}
	values := map[string]any{"Name": "b1", "ID": 0, "Role": "ASYNC_MASTER", "NameServers": strings.Join(servers, ";"), "Port": p.port.number,
		"Advertised": r.host, "Data": r.Store(p.part), "ACL": r.acl, "Settings": maps.Clone(r.settings), "Master": ""}
	if r.slave {
		values["Role"] = "SYNC_MASTER"
	}
	if p.part == Slave {
		values["ID"], values["Role"], values["Advertised"] = 1, "SLAVE", "127.0.0.1"
		values["Master"] = r.parts[Master].ha.address()
		delete(values["Settings"].(map[string]string), "brokerRole")
	}
	if p.part == Master2 {
		values["Name"], values["Advertised"], values["Role"] = "b2", "127.0.0.1", "ASYNC_MASTER"
	}
	if r.roomy {
		settings := values["Settings"].(map[string]string)
		settings["mappedFileSizeCommitLog"], settings["sendMessageThreadPoolNums"] = "268435456", "4"
	}
	file, err := os.Create(p.conf())
	if err != nil {
		return err
	}
	return errors.Join(rocketTemplate.Execute(file, values), file.Close())
}

// start starts what is down of the parts, one after the other: a broker registers with the name server, a slave needs its master.
func (r *Rocket) start(ctx context.Context, parts []Part) error {
	for _, p := range r.pick(parts) {
		if p.up() {
			continue
		}
		master, linked := r.parts[Master], int64(0)
		if p.part == Slave {
			linked = logSize(master.log())
		}
		if err := removeUnmade(r.Store(p.part)); err != nil {
			return err
		}
		begin, err := p.launch(r.jvm(p))
		if err != nil {
			return err
		}
		// A name server or broker says so when its listener is open and, of a broker, when it is registered.
		if err := p.awaitReady(ctx, begin, "boot success"); err != nil {
			return err
		}
		slave := r.parts[Slave]
		if p.part == Master {
			linked = begin
		}
		// The slave counts once the master has logged its first offset; after a restart of the master it retries every 5 s.
		if p.part == Slave && master.serving() || p.part == Master && slave != nil && slave.serving() {
			if err := master.awaitReady(ctx, linked, " request offset"); err != nil {
				return fmt.Errorf("the slave has not found its master: %w", err)
			}
		}
	}
	return nil
}

func logSize(name string) int64 {
	info, err := os.Stat(name)
	if err != nil {
		return 0
	}
	return info.Size()
}

// jvm is the command of one part.
func (r *Rocket) jvm(p *rocketPart) *exec.Cmd {
	main, heap, direct := "org.apache.rocketmq.broker.BrokerStartup", "192m", "96m"
	if p.part == NameServer || p.part == NameServer2 {
		main, heap, direct = "org.apache.rocketmq.namesrv.NamesrvStartup", "64m", "32m"
	}
	limits := []string{"-Xms" + heap, "-Xmx" + heap, "-XX:MaxDirectMemorySize=" + direct, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-XX:MaxMetaspaceSize=96m", "-XX:ReservedCodeCacheSize=48m"}
	if r.roomy && p.part == Master {
		limits = []string{"-Xms2g", "-Xmx2g", "-Xmn1g", "-XX:+UseSerialGC", "-XX:MaxDirectMemorySize=1g"}
	}
	flags := []string{p.temporaryFlag(), "-XX:-UsePerfData", "-Xshare:auto", "-Djava.awt.headless=true", "-Djava.net.preferIPv4Stack=true", "-Duser.home=" + p.home(),
		"-Drocketmq.client.logRoot=" + filepath.Join(p.home(), "logs"), "-Dio.netty.allocator.numDirectArenas=2", "-Dio.netty.allocator.numHeapArenas=2",
		"-Drocketmq.broker.diskSpaceWarningLevelRatio=0.99", "-Drocketmq.broker.diskSpaceCleanForciblyRatio=0.98"}
	for _, pkg := range []string{"java.nio", "sun.nio.ch", "jdk.internal.ref", "java.lang", "java.util"} {
		flags = append(flags, "--add-opens=java.base/"+pkg+"=ALL-UNNAMED")
	}
	if r.certs != nil {
		flags = append(flags, "-Dtls.server.mode=enforcing", "-Dtls.config.file="+r.tlsFile(), "-Dio.netty.allocator.maxOrder=7") // chunks of 1 MiB, or TLS has no room
	}
	flags = append(flags, "-cp", filepath.Join(p.home(), "conf")+":"+r.tools.jars+"/*", main, "-c", p.conf())
	cmd := exec.Command(r.tools.java, slices.Concat(limits, flags)...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "ROCKETMQ_HOME="+p.home())
	if r.tools.shim != "" {
		cmd.Env = append(cmd.Env, "LD_PRELOAD="+r.tools.shim, "FLUSH_DELAY_FILE="+p.delayFile())
	}
	return cmd
}

// removeUnmade removes files of a broker's store that it had created and not given their length when it was killed. It does not start over one ("length not
// matched message store config value, please check it manually"); nothing is in it, and an administrator removes it too.
func removeUnmade(store string) error {
	for _, kind := range []string{"commitlog", "consumequeue"} {
		err := filepath.WalkDir(filepath.Join(store, kind), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			if info, err := e.Info(); err != nil || info.Size() > 0 {
				return err
			}
			return os.Remove(path)
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
