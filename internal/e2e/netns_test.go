package e2e

import "os/exec"

// inNamespace is cmd, run in the network namespace ns.
func inNamespace(cmd *exec.Cmd, ns string) *exec.Cmd {
	args := append([]string{"ip", "netns", "exec", ns, cmd.Path}, cmd.Args[1:]...)
	if path, err := exec.LookPath("ip"); err == nil {
		cmd.Path = path
	}
	cmd.Args = args
	return cmd
}
