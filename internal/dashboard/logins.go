package dashboard

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	minCost, maxCost = 12, 15 // of bcrypt: a quarter of a second to two seconds of one processor for each try
	maxPassword      = 72     // bytes: bcrypt looks at no more, so two longer ones could be one
	maxUsersFile     = 1 << 20
	passwordSlots    = 2               // passwords that are looked at at once, so that guessing takes no processor from the relay
	passwordWait     = 2 * time.Second // for one of these
)

// Logins are the people and programs with a name of their own, and what each may. Safe for concurrent use.
type Logins struct {
	hashes  map[string][]byte // of passwords, by name
	tokens  map[string][sha256.Size]byte
	rights  map[string]map[role]bool
	hardest []byte // the dearest of hashes: what is compared for a name that is not there
	compare func(hash, password []byte) error
	slots   chan struct{}
	tries   throttle

	secret [32]byte // of this process
	mu     sync.Mutex
	proved map[string][sha256.Size]byte // the last right password of each name: a program that asks often pays for bcrypt once
}

// NewLogins takes bcrypt hashes and tokens by name, and names by role. A token of less than 32 characters is refused, and so is a name that has both: its roles could not be
// told apart. Errors are sentences for people and never hold a secret.
func NewLogins(hashes map[string][]byte, tokens map[string]string, roles map[Role][]string) (*Logins, error) {
	l := &Logins{hashes: hashes, tokens: map[string][sha256.Size]byte{}, rights: map[string]map[role]bool{}, compare: bcrypt.CompareHashAndPassword, slots: make(chan struct{}, passwordSlots),
		tries: throttle{of: map[string]*tried{}}, proved: map[string][sha256.Size]byte{}}
	_, _ = rand.Read(l.secret[:]) // never fails
	dearest := 0
	for _, hash := range hashes {
		if cost, err := bcrypt.Cost(hash); err == nil && (l.hardest == nil || cost > dearest) {
			l.hardest, dearest = hash, cost
		}
	}
	for name, token := range tokens {
		if len(token) < minToken {
			return nil, fmt.Errorf("the token of %s in dashboard.auth.tokens has %d characters; it needs %d or more", name, len(token), minToken)
		}
		if hashes[name] != nil {
			return nil, fmt.Errorf("%s is in the file of dashboard.auth.basic and in dashboard.auth.tokens: take two names", name)
		}
		l.tokens[name] = sha256.Sum256([]byte(token))
	}
	byName := map[string][]Role{}
	for r, names := range roles {
		for _, name := range names {
			byName[name] = append(byName[name], r)
		}
	}
	for name, all := range byName {
		l.rights[name] = rightsOf(all...)
	}
	return l, nil
}

// Users reads a file of names and passwords: lines name:hash, empty ones, and comments behind #. Errors are sentences for people and hold no hash.
func Users(path string) (map[string][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the file of dashboard.auth.basic cannot be read: %w", err)
	}
	defer f.Close()
	if err := private(f, path); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxUsersFile+1))
	if err != nil {
		return nil, fmt.Errorf("the file of dashboard.auth.basic cannot be read: %w", err)
	}
	if len(b) > maxUsersFile {
		return nil, fmt.Errorf("%s is larger than %d bytes: it is no file of names and passwords", path, maxUsersFile)
	}
	users := map[string][]byte{}
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, hash, _ := strings.Cut(line, ":")
		cost, err := bcrypt.Cost([]byte(hash))
		switch {
		case !personName.MatchString(name):
			return nil, fmt.Errorf("%s, line %d: a line is name:hash, the name 1 to 40 letters, digits and . _ @ -", path, n)
		case err != nil || len(hash) != 60:
			return nil, fmt.Errorf("%s, line %d: what stands behind %s is no bcrypt hash; write one with: htpasswd -nBC %d %s", path, n, name, minCost, name)
		case cost < minCost || cost > maxCost:
			return nil, fmt.Errorf("%s, line %d: the hash of %s has cost %d; it must be %d to %d: htpasswd -nBC %d %s", path, n, name, cost, minCost, maxCost, minCost, name)
		case users[name] != nil:
			return nil, fmt.Errorf("%s, line %d: %s is here twice", path, n, name)
		}
		users[name] = []byte(hash)
	}
	return users, nil
}

// Unproved are names that have a role and no way to prove who they are.
func (l *Logins) Unproved() (names []string) {
	for name := range l.rights {
		if _, token := l.tokens[name]; !token && l.hashes[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// has says whether anybody is in a role.
func (l *Logins) has(r role) bool {
	if l == nil {
		return false
	}
	for _, may := range l.rights {
		if may[r] {
			return true
		}
	}
	return false
}

func (l *Logins) named(name string) person {
	return person{in: true, name: name, may: l.rights[name]}
}

// byToken finds whose token it is. All are compared, each in equal time.
func (l *Logins) byToken(token string) (p person, ok bool) {
	if l == nil {
		return person{}, false
	}
	sum := sha256.Sum256([]byte(token))
	for name, want := range l.tokens {
		if subtle.ConstantTimeCompare(sum[:], want[:]) == 1 {
			p, ok = l.named(name), true
		}
	}
	return p, ok
}

// wait is an answer to a password that was not looked at.
func wait(after time.Duration) *failure {
	return &failure{"rate-limited", http.StatusTooManyRequests, "Too many tries", fmt.Sprintf("The password was not looked at: too many were wrong, or too many are tried at once. Try again in %s.", round(after))}
}

// byPassword finds out whether a password is that of a name. A name that is not there takes as long as one that is. *failure: it was not looked at.
func (l *Logins) byPassword(ctx context.Context, name, password, address string) (person, *failure) {
	wrong := &failure{"unauthenticated", http.StatusUnauthorized, "Not signed in", "Name or password is wrong."}
	if l == nil || l.hardest == nil {
		return person{}, wrong
	}
	h := hmac.New(sha256.New, l.secret[:])
	h.Write([]byte(password))
	digest := [sha256.Size]byte(h.Sum(nil))
	l.mu.Lock()
	known, seen := l.proved[name]
	l.mu.Unlock()
	if seen && subtle.ConstantTimeCompare(digest[:], known[:]) == 1 {
		return l.named(name), nil
	}
	keys := []string{"name " + name}
	if ip, err := netip.ParseAddr(address); err == nil && !ip.IsLoopback() { // behind a proxy, and on this machine, everybody has that one
		keys = append(keys, "address "+address)
	}
	if left := l.tries.left(keys); left > 0 {
		return person{}, wait(left)
	}
	ctx, cancel := context.WithTimeout(ctx, passwordWait)
	defer cancel()
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return person{}, wait(passwordWait)
	}
	hash, there := l.hashes[name]
	if !there {
		hash = l.hardest
	}
	err := l.compare(hash, []byte(password[:min(len(password), maxPassword)]))
	if err != nil || !there || len(password) > maxPassword {
		l.tries.wrong(keys)
		return person{}, wrong
	}
	l.tries.right(keys[:1])
	l.mu.Lock()
	defer l.mu.Unlock()
	l.proved[name] = digest
	return l.named(name), nil
}
