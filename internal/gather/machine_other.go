//go:build !linux

package gather

func systemAddresses() ([]Address, error) { return portableAddresses() }

func watchSystem(changed func()) (tells bool, stop func()) { return false, poll(changed) }
