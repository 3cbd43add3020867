package dashboard

import (
	"crypto/tls"
	"fmt"
	"sync"
	"time"
)

// certificateFor is how long a certificate counts before its files are looked at again: tools renew it in place.
const certificateFor = time.Minute

// Certificate is what the listener shows to browsers. Safe for concurrent use.
type Certificate struct {
	cert, key string

	mu   sync.Mutex
	at   time.Time
	last *tls.Certificate
}

// NewCertificate reads two PEM files, the certificate with those that it rests on, and its key, which must not be open to others. Errors are sentences for people.
func NewCertificate(cert, key string) (*Certificate, error) {
	c := &Certificate{cert: cert, key: key}
	if err := c.read(); err != nil {
		return nil, fmt.Errorf("dashboard.tls: %w", err)
	}
	return c, nil
}

func (c *Certificate) read() error {
	if err := privateFile(c.key); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return fmt.Errorf("certificate %s and key %s cannot be used: %w", c.cert, c.key, err)
	}
	c.last, c.at = &pair, time.Now()
	return nil
}

// get implements tls.Config.GetCertificate. While the files cannot be read, such as in the middle of a renewal, the certificate before them counts.
func (c *Certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) >= certificateFor {
		if err := c.read(); err != nil {
			c.at = time.Now()
		}
	}
	return c.last, nil
}
