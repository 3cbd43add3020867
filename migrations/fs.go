package migrations

import (
	"io/fs"
	"strings"
	"time"
)

// rendered is the embedded folder with every file made into that of the wanted outbox. goose reads it like any other folder.
type rendered struct{ options Options }

func (r rendered) ReadDir(name string) ([]fs.DirEntry, error) { return files.ReadDir(name) }

func (r rendered) Open(name string) (fs.File, error) {
	info, err := fs.Stat(files, name)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return files.Open(name)
	}
	sql, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	text := r.options.render(string(sql))
	return &renderedFile{Reader: strings.NewReader(text), info: renderedInfo{FileInfo: info, size: int64(len(text))}}, nil
}

type renderedFile struct {
	*strings.Reader
	info renderedInfo
}

func (f *renderedFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *renderedFile) Close() error               { return nil }

type renderedInfo struct {
	fs.FileInfo
	size int64
}

func (i renderedInfo) Size() int64        { return i.size }
func (i renderedInfo) ModTime() time.Time { return time.Time{} }
