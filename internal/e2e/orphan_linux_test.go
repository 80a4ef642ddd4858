package e2e

import (
	"os/exec"
	"syscall"
)

// endsWithTest makes a process end with the thread that starts it, however the test ends.
func endsWithTest(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
