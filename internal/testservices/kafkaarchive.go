package testservices

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const archiveName = "classes.jsa"

// kafkaArchive is a file of Kafka's classes as Java has them in memory (class data sharing): with it a node takes half of the processor time to start. It is made once
// per machine, Java and set of jars, by a node that starts and stops. Empty: none could be made, and nodes start without; Java itself leaves out one that does
// not fit.
func kafkaArchive(ctx context.Context, java, jars string) string {
	name, err := filepath.EvalSymlinks(java)
	if err != nil {
		return ""
	}
	info, err := os.Stat(name)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(fmt.Append(nil, name, info.Size(), info.ModTime(), jars))
	dir, err := cached(fmt.Sprintf("%s-%x.classes", filepath.Base(jars), sum[:6]), func(dir string) error {
		c, err := newKafka(ctx, &Cluster{java: java, jars: jars, dump: filepath.Join(dir, archiveName)}, 1)
		if err != nil {
			return err
		}
		return errors.Join(c.CreateTopic("classes", 1, nil), c.Stop(), c.Close())
	})
	if err != nil {
		return ""
	}
	return filepath.Join(dir, archiveName)
}
