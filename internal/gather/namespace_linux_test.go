package gather

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/parley-rtc/parley/internal/need"
)

// InNamespace runs a test again in a network namespace of its own, which is where it returns true. Where there can be none
// the test is skipped, but not under CI, where nobody reads the skips.
func InNamespace(t *testing.T) bool {
	t.Helper()
	const variable = "PARLEY_TEST_IN_NAMESPACE"
	if os.Getenv(variable) != "" {
		return true
	}
	need.Program(t, "iproute2", "ip")
	if os.Getuid() != 0 {
		need.Missing(t, "a network namespace of its own", "run as root")
	}
	again := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout="+(2*need.Patience).String())
	again.Env = append(os.Environ(), variable+"=1")
	again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := again.CombinedOutput()
	if err != nil && (strings.Contains(err.Error(), "operation not permitted") || strings.Contains(string(out), "Unknown device type")) {
		need.Missing(t, "leave to make a network namespace, and a kernel with veth", "run it on a machine of its own")
	}
	if err != nil || !strings.Contains(string(out), "PASS") {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}
