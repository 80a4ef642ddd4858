// Package archtest holds the map of the house and checks the code against it.
//
// The map is in docs/architecture.md: rooms stand on levels, imports point down only, and the engines (levels 0 to 3)
// never touch a clock, a socket, a lock or a goroutine. [Check] reads the imports and the syntax of every Go file that
// is not a test; its own test runs it over the repository, so an arrow that points up fails `go test ./...`.
package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/parley-rtc/parley"

// testKit is the level of rooms that only tests may import; they may import everything below the API themselves.
const testKit = -1

// levels is the map: each room (a folder and everything below it) and the level it stands on.
var levels = map[string]int{
	"cmd": 8, "examples": 8,
	"server": 7,
	"media":  6, "signaling": 6, "web": 6,
	"webrtc":        5,
	"internal/loop": 4, "internal/udp": 4, "internal/gather": 4,
	"internal/peer": 3, "internal/session": 3, "sfu": 3,
	"protocol/ice": 2, "protocol/turn": 2, "protocol/dtls": 2, "protocol/srtp": 2, "protocol/sctp": 2, "protocol/jsep": 2, "protocol/cc": 2, "protocol/fec": 2, "protocol/jitter": 2,
	"protocol/stun": 1, "protocol/sdp": 1, "protocol/rtp": 1, "protocol/rtcp": 1,
	"protocol/mono": 0, "protocol/pkt": 0, "internal/wire": 0, "internal/seqnum": 0, "internal/timerq": 0,

	"internal/archtest": testKit, "internal/simnet": testKit, "internal/laws": testKit, "internal/e2e": testKit, "internal/ffmpeg": testKit, "internal/need": testKit,
}

// within names the arrows that are allowed between rooms of one level.
var within = map[[2]string]bool{
	{"sfu", "internal/peer"}:              true,
	{"internal/peer", "internal/session"}: true, // seals what the session sends
	{"protocol/rtcp", "protocol/rtp"}:     true, // rtp defines SSRC and PayloadType
	{"protocol/pkt", "protocol/mono"}:     true, // a datagram says when it came
	{"internal/timerq", "protocol/mono"}:  true,
	{"internal/loop", "internal/udp"}:     true, // the loop polls the sockets
	{"internal/gather", "internal/loop"}:  true, // opens sockets in a lease
	{"internal/gather", "internal/udp"}:   true,
}

const (
	engineLevel = 3 // up to here: told the time, never asks
	apiLevel    = 5 // up to here: the standard library and golang.org/x only
)

// refused are imports that an engine has no use for: it is told the time and handed its bytes, entropy and addresses.
var refused = []string{
	"net", "os", "syscall", "unsafe", "sync", "sync/atomic", "context", "log", "log/slog",
	"math/rand", "math/rand/v2", "crypto/rand", "testing", "runtime",
}

// pureTime is what an engine may use of package time: values and their arithmetic.
var pureTime = []string{
	"Duration", "Time", "Nanosecond", "Microsecond", "Millisecond", "Second", "Minute", "Hour",
	"Date", "Unix", "UTC", "Month", "January",
}

// A Violation is one place where the code leaves the map.
type Violation struct {
	Pos  token.Position // File is relative to the root that was checked
	What string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s:%d: %s", v.Pos.Filename, v.Pos.Line, v.What)
}

// Check reads every Go file below root that is not a test, passing over nested modules, testdata and folders whose name
// begins with a dot or underscore, and returns what it found, in the order of the files. An error means that a file
// could not be read or parsed.
func Check(root string) ([]Violation, error) {
	c := checker{files: token.NewFileSet()}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && skipFolder(name, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") || strings.HasSuffix(rel, "_test.go") {
			return nil
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(c.files, rel, src, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		c.check(rel, file)
		return nil
	})
	return c.found, err
}

func skipFolder(full, name string) bool {
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "node_modules" {
		return true
	}
	_, err := os.Stat(filepath.Join(full, "go.mod"))
	return err == nil
}

type checker struct {
	files *token.FileSet
	found []Violation
}

func (c *checker) report(at token.Pos, format string, args ...any) {
	c.found = append(c.found, Violation{c.files.Position(at), fmt.Sprintf(format, args...)})
}

func (c *checker) check(rel string, file *ast.File) {
	room, level, known := roomOf(path.Dir(rel))
	if !known {
		c.report(file.Package, "the folder %s is not on the map: give it a level in internal/archtest and in docs/architecture.md", path.Dir(rel))
		return
	}
	engine := level >= 0 && level <= engineLevel
	timeName := ""
	for _, spec := range file.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the parser has refused it already
		}
		c.checkImport(spec.Pos(), room, level, target)
		if engine && target == "time" {
			timeName = "time"
			if spec.Name != nil {
				timeName = spec.Name.Name
			}
			if timeName == "." {
				c.report(spec.Pos(), "%s is an engine: it imports time with a dot, which hides what it uses", room)
			}
		}
	}
	if engine {
		c.checkSyntax(room, timeName, file)
	}
}

func (c *checker) checkImport(at token.Pos, room string, level int, target string) {
	local, ours := strings.CutPrefix(target, module+"/")
	if !ours {
		switch outside := strings.Contains(strings.SplitN(target, "/", 2)[0], "."); {
		case level == testKit:
		case outside && level <= apiLevel && !strings.HasPrefix(target, "golang.org/x/"):
			c.report(at, "%s (level %d) imports %s: levels 0 to %d take the standard library and golang.org/x only", room, level, target, apiLevel)
		case level <= engineLevel && isRefused(target):
			c.report(at, "%s is an engine (level %d) and imports %s: engines are told the time and handed their bytes", room, level, target)
		}
		return
	}
	to, toLevel, known := roomOf(local)
	switch {
	case !known:
		c.report(at, "%s imports %s, which is not on the map", room, local)
	case to == room || within[[2]string{room, to}]:
	case level == testKit:
	case toLevel == testKit:
		c.report(at, "%s imports %s, which is for tests only", room, to)
	case toLevel > level:
		c.report(at, "%s (level %d) imports %s (level %d): arrows point down", room, level, to, toLevel)
	case toLevel == level:
		c.report(at, "%s imports %s, a room of its own level (%d)", room, to, level)
	}
}

func isRefused(target string) bool {
	if target == "net/netip" {
		return false
	}
	return slices.Contains(refused, target) || strings.HasPrefix(target, "net/") || strings.HasPrefix(target, "os/")
}

func (c *checker) checkSyntax(room, timeName string, file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			c.report(n.Pos(), "%s is an engine: it starts a goroutine", room)
		case *ast.ChanType:
			c.report(n.Pos(), "%s is an engine: it has a channel", room)
		case *ast.SelectStmt:
			c.report(n.Pos(), "%s is an engine: it has a select", room)
		case *ast.SelectorExpr:
			if pkg, ok := n.X.(*ast.Ident); ok && timeName != "" && pkg.Name == timeName && !slices.Contains(pureTime, n.Sel.Name) {
				c.report(n.Pos(), "%s is an engine: it uses time.%s, but is told the time and never asks", room, n.Sel.Name)
			}
		}
		return true
	})
}

// roomOf finds the room that a folder (slash-separated, relative to the module) belongs to.
func roomOf(folder string) (room string, level int, known bool) {
	for at := folder; at != "." && at != "/"; at = path.Dir(at) {
		if level, ok := levels[at]; ok {
			return at, level, true
		}
	}
	return "", 0, false
}
