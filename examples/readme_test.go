package examples

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The table has each example, and nothing else.
func TestTableIsComplete(t *testing.T) {
	table, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{"nats-chat": strings.Contains(string(table), "`nats-chat` is a module of its own")}
	for _, row := range regexp.MustCompile("(?m)^\\| (`.*?`) \\|").FindAllStringSubmatch(string(table), -1) {
		for _, command := range regexp.MustCompile("`([a-z-]+)[^`]*`").FindAllStringSubmatch(row[1], -1) {
			listed[command[1]] = true
		}
	}
	programs, err := filepath.Glob("*/main.go")
	if err != nil || len(programs) == 0 {
		t.Fatal(programs, err)
	}
	for _, path := range programs {
		name := filepath.Dir(path)
		if !listed[name] {
			t.Errorf("%s is not in README.md", name)
		}
		delete(listed, name)
	}
	for name := range listed {
		t.Errorf("README.md lists %s, which is not there", name)
	}
}

// The program in the repository's README is one.
func TestProgramOfREADME(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	program := regexp.MustCompile("(?s)```go\n(package main.*?)```").FindSubmatch(readme)
	if program == nil {
		t.Fatal("README.md has no program")
	}
	file := filepath.Join(t.TempDir(), "robot.go")
	if err := os.WriteFile(file, program[1], 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "vet", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
