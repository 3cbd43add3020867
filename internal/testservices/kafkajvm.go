package testservices

import (
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/template"

	"github.com/waybillmq/waybill/internal/child"
)

//go:embed kafka.pom.xml
var kafkaPOM []byte

//go:embed kafka.properties
var kafkaProperties string

var propertiesTemplate = template.Must(template.New("kafka.properties").Parse(kafkaProperties))

const kafkaVersion = "4.2.0"

// kafkaJars finds Java and the folder of Kafka's jars; what is missing is installed.
func kafkaJars(ctx context.Context) (java, jars string, err error) {
	if java, err = program(ctx, "java", "default-jre-headless"); err != nil {
		return "", "", err
	}
	if jars = os.Getenv("WAYBILL_TEST_KAFKA"); jars != "" {
		if found, _ := filepath.Glob(filepath.Join(jars, "kafka_*.jar")); len(found) == 0 {
			return "", "", fmt.Errorf("WAYBILL_TEST_KAFKA: %s holds no kafka_….jar", jars)
		}
		return java, jars, nil
	}
	jars, err = cached("kafka-"+kafkaVersion, func(dir string) error {
		return mavenCopy(ctx, dir, kafkaPOM, "-Dkafka.version="+kafkaVersion)
	})
	if err != nil {
		err = fmt.Errorf("%w. Or set WAYBILL_TEST_KAFKA to a folder with the jars of Kafka %s", err, kafkaVersion)
	}
	return java, jars, err
}

// mavenDependency is Maven's plugin that copies jars.
const mavenDependency = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1"

// mavenCopy lets Maven resolve what a pom names and copy the jars: of Kafka 53 files, 44 MB, of RocketMQ 40 files, 28 MB.
func mavenCopy(ctx context.Context, dir string, text []byte, property string) error {
	mvn, err := program(ctx, "mvn", "maven")
	if err != nil {
		return err
	}
	pom := filepath.Join(dir, "pom.xml")
	if err := os.WriteFile(pom, text, 0o644); err != nil {
		return err
	}
	return run(exec.CommandContext(ctx, mvn, "-B", "-q", "-Dstyle.color=never", "-f", pom, property,
		mavenDependency+":copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+dir))
}

// program finds a program on PATH, or installs the package that has it.
func program(ctx context.Context, name, pkg string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	if err := aptInstall(ctx, pkg); err != nil {
		return "", fmt.Errorf("no program %s: %w", name, err)
	}
	return exec.LookPath(name)
}

// small are the limits of a Java process that stays small: 190 MiB for a node.
func small(heap string) []string {
	return []string{"-Xms" + heap, "-Xmx" + heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:MaxMetaspaceSize=128m", "-XX:ReservedCodeCacheSize=48m",
		"-XX:MaxDirectMemorySize=64m"}
}

// roomy are those for a broker that works for long: a heap of the size that a broker in production has, and all compilers. The collector is the one that needs
// no thread of its own: on a machine that broker, database and load share, G1's took more than its shorter pauses gave. A young generation that is large
// makes its pauses rare: measured, 16 to 54 ms every 2 s with 48 MiB, and 70 to 125 ms every 10 s with 300 MiB.
var roomy = []string{"-Xms4g", "-Xmx4g", "-Xmn3g", "-XX:+UseSerialGC"}

func (c *Cluster) jvm(n *node, limits []string, args ...string) *exec.Cmd {
	flags := []string{n.temporaryFlag(), "-XX:-UsePerfData", "-Xshare:auto", "-Djava.awt.headless=true",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS", "-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
		"-cp", c.jars + "/*"}
	if c.archive != "" {
		flags = append(flags, "-XX:SharedArchiveFile="+c.archive)
	}
	cmd := exec.Command(c.java, slices.Concat(limits, flags, args)...)
	cmd.Dir = c.dir
	return cmd
}

// Tool is one of Kafka's own command-line programs by its class, as org.apache.kafka.tools.TopicCommand, which is what kafka-topics.sh starts.
func (c *Cluster) Tool(class string) (command []string) {
	return []string{c.java, c.nodes[0].temporaryFlag(), "-XX:-UsePerfData", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", c.jars + "/*", class}
}

// format writes each node's properties and makes its storage, all nodes at once: each takes a JVM of its own.
func (c *Cluster) format(ctx context.Context) error {
	id := clusterID()
	type running struct {
		process *child.Process
		output  *os.File
	}
	var formats []running
	for _, n := range c.nodes {
		if err := c.writeProperties(n); err != nil {
			return err
		}
		output, err := os.Create(filepath.Join(n.dir, "format.log"))
		if err != nil {
			return err
		}
		defer output.Close()
		cmd := c.jvm(n, small("64m"), "kafka.tools.StorageTool", "format", "-t", id, "-c", n.properties())
		cmd.Stdout, cmd.Stderr = output, output
		p, err := child.Start(cmd, syscall.SIGKILL)
		if err != nil {
			return err
		}
		formats = append(formats, running{p, output})
	}
	var errs []error
	for _, f := range formats {
		select {
		case <-f.process.Done():
		case <-ctx.Done():
			errs = append(errs, ctx.Err(), f.process.Kill())
		}
		if err := f.process.Err(); err != nil {
			text, _ := os.ReadFile(f.output.Name())
			errs = append(errs, fmt.Errorf("format the storage of kafka: %w: %s", err, lastLines(text, 5)))
		}
	}
	return errors.Join(errs...)
}

func (n *node) properties() string { return filepath.Join(n.dir, "server.properties") }

func (c *Cluster) writeProperties(n *node) error {
	voters := make([]string, len(c.nodes))
	for i, v := range c.nodes {
		voters[i] = strconv.Itoa(v.number) + "@" + v.controller.address()
	}
	file, err := os.Create(n.properties())
	if err != nil {
		return err
	}
	replicas := len(c.nodes)
	err = propertiesTemplate.Execute(file, map[string]any{"Node": n.number, "Voters": strings.Join(voters, ","), "Client": n.client.address(), "Advertised": c.advertised(n),
		"Controller": n.controller.address(), "Data": cmp.Or(c.data, filepath.Join(n.dir, "data")), "Replicas": replicas, "InSync": (replicas + 1) / 2})
	if c.secure != nil && err == nil {
		var more string
		if more, err = c.secure.properties(n); err == nil {
			_, err = io.WriteString(file, more)
		}
	}
	return errors.Join(err, file.Close())
}

// launch starts a node's JVM without waiting for it, and returns where in its log file this run begins.
func (c *Cluster) launch(n *node) (begin int64, err error) {
	limits := small("192m")
	if c.roomy {
		limits = roomy
	}
	if c.dump != "" {
		limits = append(limits, "-XX:ArchiveClassesAtExit="+c.dump)
	}
	cmd := c.jvm(n, limits, "kafka.Kafka", n.properties())
	return n.launch(cmd)
}

// clusterID is a random id as Kafka's tools print it: 16 bytes in URL-safe base64. It must not begin with a dash, or the tool takes it for an option.
func clusterID() string {
	id := make([]byte, 16)
	rand.Read(id) // never fails (crypto/rand)
	id[0] &= 0x3f
	return base64.RawURLEncoding.EncodeToString(id)
}
