package server

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/spf13/pflag"
)

// Loaded is what flags, environment and file say together.
type Loaded struct {
	Config   Config
	File     string    // the configuration file that was read, or ""
	Values   []Value   // every setting, in the order of [Settings]
	Problems []Problem // what is wrong, in the order in which it was found
}

// A Value is what is in force for one setting.
type Value struct {
	Setting *Setting
	Text    string // as it would be written; "" if nothing is in force; dots for a secret
	Origin  string // "default", or where it was said
}

// A Problem is one thing that is wrong with what was said.
type Problem struct {
	Origin  string // where it was said
	Message string // what is wrong and what to do
	Warning bool   // the server starts in spite of it
}

func (p Problem) String() string { return p.Origin + ": " + p.Message }

// Err returns what keeps the server from starting, or nil.
func (l *Loaded) Err() error {
	var errs []error
	for _, p := range l.Problems {
		if !p.Warning {
			errs = append(errs, errors.New(p.String()))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return &ConfigError{errors.Join(errs...)}
}

// Warnings returns what is wrong but does not keep the server from starting.
func (l *Loaded) Warnings() []Problem {
	return slices.DeleteFunc(slices.Clone(l.Problems), func(p Problem) bool { return !p.Warning })
}

// A ConfigError says that a server was not started because of what it was told; each line names the place.
type ConfigError struct{ error }

func (e *ConfigError) Unwrap() error { return e.error }

// AddFlags adds a flag for each setting, and --config, to flags.
func AddFlags(flags *pflag.FlagSet) {
	flags.SortFlags = false
	for _, s := range settings {
		f := flags.VarPF(&flagText{setting: s}, s.Name, "", s.Help)
		f.NoOptDefVal = s.Bare
		if s.isSwitch() {
			f.NoOptDefVal = "true"
		}
		if s.inForce != nil {
			f.DefValue = s.inForce(new(Config))
		}
	}
	flags.String("config", "", "the configuration `file` (YAML); if not given, parley.yaml in the configuration folder, if there is one")
}

// flagText keeps what was written for one flag, checked but not yet put anywhere.
type flagText struct {
	setting *Setting
	texts   []string
}

func (f *flagText) String() string { return strings.Join(f.texts, ",") }

func (f *flagText) Type() string {
	if f.setting.isSwitch() {
		return "bool"
	}
	return f.setting.Value
}

func (f *flagText) Set(text string) error {
	if err := f.setting.set(new(Config), []string{text}); err != nil {
		return err
	}
	f.texts = append(f.texts, text)
	return nil
}

// Load puts together what flags (made by [AddFlags] and parsed), environ (as of [os.Environ]) and the configuration
// file say. A flag goes before the environment, the environment before the file, the file before the default.
func Load(flags *pflag.FlagSet, environ []string) *Loaded {
	l := &Loaded{}
	said := make(map[string]source)
	env := environment(environ)

	path, from := configFile(flags, env)
	switch file, err := os.ReadFile(path); {
	case path == "" || from == "" && errors.Is(err, fs.ErrNotExist):
	case err != nil:
		l.Problems = append(l.Problems, Problem{
			Origin: cmp.Or(from, path), Message: fmt.Sprintf("the configuration file cannot be read: %v", err),
			Warning: from == "", // of a place that nobody named, such as another user's home
		})
	default:
		l.File = path
		l.readFile(path, file, said)
	}
	l.readEnvironment(env, said)
	flags.Visit(func(f *pflag.Flag) {
		if text, ok := f.Value.(*flagText); ok {
			said[f.Name] = source{"flag --" + f.Name, text.texts}
		}
	})

	for _, s := range settings {
		origin := "default"
		if src, ok := said[s.Name]; ok {
			origin = src.origin
			if err := s.set(&l.Config, src.texts); err != nil {
				l.problem(origin, "%v", err)
			}
		}
		l.Values = append(l.Values, Value{Setting: s, Origin: origin})
	}
	for i := range l.Values {
		v := &l.Values[i]
		if v.Text = v.Setting.text(&l.Config); v.Setting.Secret && v.Origin != "default" {
			v.Text = "••••••••"
		}
	}
	for _, wrong := range l.Config.problems() {
		l.problem(l.origin(wrong.Setting), "%s %s", wrong.Setting, wrong.Problem)
	}
	return l
}

// source is where a setting was said, and what.
type source struct {
	origin string
	texts  []string
}

func (l *Loaded) problem(origin, format string, args ...any) {
	l.Problems = append(l.Problems, Problem{Origin: origin, Message: fmt.Sprintf(format, args...)})
}

func (l *Loaded) origin(setting string) string {
	for _, v := range l.Values {
		if v.Setting.Name == setting && v.Origin != "default" {
			return v.Origin
		}
	}
	return "flag --" + setting
}

// DefaultConfigFile is the configuration file that is read where none is named: parley.yaml in systemd's
// $CONFIGURATION_DIRECTORY, else in the user's folder of configuration (on Linux ~/.config/parley).
func DefaultConfigFile() string {
	dir := os.Getenv("CONFIGURATION_DIRECTORY")
	if dir == "" {
		dir = below(os.UserConfigDir)
	}
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "parley.yaml")
}

// configFile returns the file to read and who named it; a file that nobody named need not exist.
func configFile(flags *pflag.FlagSet, env map[string]string) (path, from string) {
	if f := flags.Lookup("config"); f != nil && f.Changed {
		return f.Value.String(), "flag --config"
	}
	if path := env[variablePrefix+"CONFIG"]; path != "" {
		return path, "environment " + variablePrefix + "CONFIG"
	}
	return DefaultConfigFile(), ""
}

// maxFile is more than every setting at length.
const maxFile = 256 << 10

// readFile takes the settings of a YAML file: one mapping of names to a value or a list of values.
func (l *Loaded) readFile(path string, data []byte, said map[string]source) {
	if len(data) > maxFile {
		l.problem(path, "is larger than %d bytes, so it is not a configuration file", maxFile)
		return
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		l.problem(path, "is not YAML: %s", strings.TrimSpace(err.Error()))
		return
	}
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.CommentType {
			continue
		}
		m, ok := doc.Body.(ast.MapNode)
		if !ok {
			l.problem(path, "is not a list of settings: write one `name: value` a line")
			return
		}
		for it := m.MapRange(); it.Next(); {
			key := it.Key().GetToken()
			origin := fmt.Sprintf("%s:%d", path, key.Position.Line)
			s := settingNamed(key.Value)
			if s == nil {
				l.problem(origin, "there is no setting %q%s", key.Value, nearest(key.Value, settingNames()))
				continue
			}
			if earlier, twice := said[s.Name]; twice {
				l.problem(origin, "%s was said already at %s", s.Name, earlier.origin)
				continue
			}
			texts, err := yamlTexts(it.Value())
			if err != nil {
				l.problem(origin, "%s %v", s.Name, err)
				continue
			}
			said[s.Name] = source{origin, texts}
		}
	}
}

// yamlTexts returns a scalar, or each scalar of a sequence, as it was written.
func yamlTexts(n ast.Node) ([]string, error) {
	switch n := n.(type) {
	case *ast.NullNode:
		return nil, errors.New("has no value: give it one or take the line away")
	case *ast.SequenceNode:
		var texts []string
		for _, item := range n.Values {
			one, err := yamlTexts(item)
			if err != nil {
				return nil, err
			}
			texts = append(texts, one...)
		}
		if len(texts) == 0 {
			texts = []string{""}
		}
		return texts, nil
	case *ast.LiteralNode:
		return []string{strings.TrimSpace(n.Value.Value)}, nil
	case ast.ScalarNode:
		return []string{n.GetToken().Value}, nil
	}
	return nil, errors.New("takes a value or a list of values")
}

func environment(environ []string) map[string]string {
	env := make(map[string]string)
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, variablePrefix) {
			env[name] = value
		}
	}
	return env
}

// otherVariables begin the names of variables that are not settings: switches of the packet path and of tests, and what
// Kubernetes sets for a service that is called parley.
var otherVariables = []string{"PARLEY_DISABLE_", "PARLEY_LONG", "PARLEY_E2E_", "PARLEY_SERVICE_", "PARLEY_PORT"}

func (l *Loaded) readEnvironment(env map[string]string, said map[string]source) {
	names := []string{variablePrefix + "CONFIG"}
	for _, s := range settings {
		names = append(names, s.Variable())
		if value := env[s.Variable()]; value != "" {
			said[s.Name] = source{"environment " + s.Variable(), []string{value}}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		other := slices.ContainsFunc(otherVariables, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		if !slices.Contains(names, name) && !other {
			l.Problems = append(l.Problems, Problem{
				Origin:  "environment " + name,
				Message: "there is no such setting" + nearest(name, names),
				Warning: true,
			})
		}
	}
}
