package gather

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// InNamespace runs a test again in a network namespace of its own, which is where it returns true. Where there can be none
// the test is skipped, but not under CI, where nobody reads the skips.
func InNamespace(t *testing.T) bool {
	t.Helper()
	const variable = "PARLEY_TEST_IN_NAMESPACE"
	if os.Getenv(variable) != "" {
		return true
	}
	without := t.Skip
	if os.Getenv("CI") != "" {
		without = t.Fatal
	}
	if _, err := exec.LookPath("ip"); err != nil || os.Getuid() != 0 {
		without("needs root, for a network namespace, and the program ip; on Debian: apt-get install iproute2")
	}
	again := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	again.Env = append(os.Environ(), variable+"=1")
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := again.CombinedOutput()
	if err != nil && (strings.Contains(err.Error(), "operation not permitted") || strings.Contains(string(out), "Unknown device type")) {
		without("needs leave to make a network namespace, and a kernel with veth")
	}
	if err != nil || !strings.Contains(string(out), "PASS") {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}
