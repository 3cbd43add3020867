package dashboard

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const hash12 = "$2y$12$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"

// S15: a file of passwords that is open to others, cheap to guess or not clear lets nobody in.
func TestUsersFile_S15(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write("# people\n\n ana:"+hash12+"\r\nbén.d@x:"+strings.Replace(hash12, "$2y$12", "$2b$15", 1)+"\n", 0o640)
	if users, err := Users(path); err != nil || len(users) != 2 || string(users["ana"]) != hash12 || users["bén.d@x"] == nil {
		t.Errorf("%q, %v", users, err)
	}
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"open":    {"ana:" + hash12, 0o644, "chmod 600"},
		"cheap":   {"ana:" + strings.Replace(hash12, "$12$", "$10$", 1), 0o600, "line 1: the hash of ana has cost 10"},
		"dear":    {"\nana:" + strings.Replace(hash12, "$12$", "$16$", 1), 0o600, "line 2: the hash of ana has cost 16"},
		"plain":   {"ana:swordfish", 0o600, "is no bcrypt hash"},
		"md5":     {"ana:$apr1$x$y", 0o600, "is no bcrypt hash"},
		"cut":     {"ana:" + hash12[:59], 0o600, "is no bcrypt hash"},
		"no name": {hash12, 0o600, "a line is name:hash"},
		"blank":   {"a na:" + hash12, 0o600, "a line is name:hash"},
		"twice":   {"ana:" + hash12 + "\nana:" + hash12, 0o600, "ana is here twice"},
		"large":   {strings.Repeat("#", maxUsersFile+1), 0o600, "larger than"},
	} {
		write(c.text, c.mode)
		users, err := Users(path)
		if err == nil || users != nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "N9qo8") || strings.Contains(err.Error(), "swordfish") {
			t.Errorf("%s: %v, %v", name, users, err)
		}
	}
	if _, err := Users(path + "x"); err == nil || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("a file that is not there: %v", err)
	}
	short := strings.Repeat("x", minToken-1)
	if _, err := NewLogins(nil, map[string]string{"bot": short}, nil); err == nil || strings.Contains(err.Error(), short) {
		t.Errorf("a short token: %v", err)
	}
	if _, err := NewLogins(map[string][]byte{"bot": []byte(hash12)}, map[string]string{"bot": short + "x"}, nil); err == nil {
		t.Error("one name in two places")
	}
	l, err := NewLogins(map[string][]byte{"ana": []byte(hash12)}, map[string]string{"bot": short + "x"}, map[Role][]string{RoleViewer: {"ana", "bot", "zoe", "bob"}})
	if err != nil || !slices.Equal(l.Unproved(), []string{"bob", "zoe"}) {
		t.Errorf("%v, %v", l.Unproved(), err)
	}
}

// counted are logins whose comparisons are seen: the right password is "right".
func counted(hashes map[string][]byte) (*Logins, *[]string) {
	l, err := NewLogins(hashes, nil, map[Role][]string{RoleViewer: {"ana"}})
	if err != nil {
		panic(err)
	}
	var compared []string
	l.compare = func(hash, password []byte) error {
		compared = append(compared, string(hash))
		if string(password) == "right" {
			return nil
		}
		return bcrypt.ErrMismatchedHashAndPassword
	}
	return l, &compared
}

// S16: a name that is not there costs the one comparison that a wrong password costs, of the same cost, and answers with the same words.
func TestUnknownNamesTakeAsLong_S16(t *testing.T) {
	cheap, dear := []byte(hash12), []byte(strings.Replace(hash12, "$12$", "$13$", 1))
	l, compared := counted(map[string][]byte{"ana": dear, "ben": cheap})
	_, known := l.byPassword(t.Context(), "ana", "wrong", "127.0.0.1")
	_, unknown := l.byPassword(t.Context(), "zoe", "wrong", "127.0.0.1")
	_, lucky := l.byPassword(t.Context(), "zoe", "right", "127.0.0.1")
	if known == nil || unknown == nil || lucky == nil || *known != *unknown || *lucky != *known {
		t.Errorf("%v, %v, %v", known, unknown, lucky)
	}
	if want := []string{string(dear), string(dear), string(dear)}; !slices.Equal(*compared, want) {
		t.Errorf("compared %q", *compared)
	}
	_, long := l.byPassword(t.Context(), "ana", "right"+strings.Repeat("x", maxPassword), "127.0.0.1")
	if long == nil || len(*compared) != 4 {
		t.Errorf("a password that is too long: %v, %d comparisons", long, len(*compared))
	}
	if p, err := l.byPassword(t.Context(), "ana", "right", "127.0.0.1"); err != nil || p.name != "ana" || !p.in || !p.may[viewer] || p.may[operator] || p.token {
		t.Errorf("%+v, %v", p, err)
	}
	n := len(*compared)
	if _, err := l.byPassword(t.Context(), "ana", "right", "127.0.0.1"); err != nil || len(*compared) != n {
		t.Errorf("the same again: %v, %d comparisons more", err, len(*compared)-n)
	}
	for _, c := range [][2]string{{"ana", "wrong"}, {"ben", "wrong"}, {"ana", ""}} {
		if _, err := l.byPassword(t.Context(), c[0], c[1], "127.0.0.1"); err == nil {
			t.Errorf("%q signs in after the right one", c)
		}
	}
}

// S18: bcrypt looks at 72 bytes: a longer password that begins like a right one is not it.
func TestLongPasswords_S18(t *testing.T) {
	right := strings.Repeat("p", maxPassword)
	hash, err := bcrypt.GenerateFromPassword([]byte(right), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewLogins(map[string][]byte{"ana": hash}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.byPassword(t.Context(), "ana", right+"x", ""); err == nil {
		t.Error("72 bytes were enough")
	}
	if _, err := l.byPassword(t.Context(), "ana", right, ""); err != nil {
		t.Error(err)
	}
}

// S11, S18: after ten wrong passwords a name has to wait, longer each time and never longer than a minute, whether it is there or not; nothing is compared meanwhile. Others
// of this machine are not kept out, and neither is a program whose password was right before.
func TestGuessingIsSlow_S11_S18(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, compared := counted(map[string][]byte{"ana": []byte(hash12), "ben": []byte(hash12)})
		if _, err := l.byPassword(t.Context(), "ben", "right", "127.0.0.1"); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"ana", "zoe", "ben"} {
			*compared = nil
			for range triesFree {
				if _, err := l.byPassword(t.Context(), name, "wrong", "127.0.0.1"); err.Code != 401 {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if _, err := l.byPassword(t.Context(), name, "wrong", "127.0.0.1"); err.Code != 429 || len(*compared) != triesFree {
				t.Errorf("%s: %v after %d comparisons", name, err, len(*compared))
			}
		}
		if _, err := l.byPassword(t.Context(), "ana", "right", "127.0.0.1"); err == nil || err.Code != 429 {
			t.Errorf("the right one was looked at: %v", err)
		}
		if _, err := l.byPassword(t.Context(), "ben", "right", "127.0.0.1"); err != nil {
			t.Errorf("who was right before is kept out: %v", err)
		}
		for i := range 20 {
			l.tries.wrong([]string{"name ana"})
			if left := l.tries.left([]string{"name ana"}); left <= 0 || left > triesLongest {
				t.Errorf("%d: waits %v", i, left)
			}
		}
		time.Sleep(triesLongest)
		if _, err := l.byPassword(t.Context(), "ana", "right", "127.0.0.1"); err != nil {
			t.Errorf("after the wait: %v", err)
		}
		for i := range triesFree {
			_, _ = l.byPassword(t.Context(), fmt.Sprint("x", i), "wrong", "192.0.2.7")
		}
		if _, err := l.byPassword(t.Context(), "other", "right", "192.0.2.7"); err.Code != 429 {
			t.Errorf("an address that tries many names: %v", err)
		}
		for i := range 2 * maxTried {
			l.tries.wrong([]string{fmt.Sprint("name ", i)})
		}
		if len(l.tries.of) > maxTried {
			t.Errorf("%d are remembered", len(l.tries.of))
		}
	})
}

// S11: no more passwords are looked at at once than there are places: they cost a processor, which the relay needs.
func TestPasswordsAtOnce_S11(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, compared := counted(map[string][]byte{"ana": []byte(hash12)})
		for range passwordSlots {
			l.slots <- struct{}{}
		}
		start := time.Now()
		if _, err := l.byPassword(context.Background(), "ana", "right", ""); err == nil || err.Code != 429 || len(*compared) != 0 || time.Since(start) != passwordWait {
			t.Errorf("%v after %v, %d comparisons", err, time.Since(start), len(*compared))
		}
	})
}
