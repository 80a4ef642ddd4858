package peer

// Holds returns how many datagrams wait for keys.
func (x *Transport) Holds() int {
	if x.early == nil {
		return 0
	}
	return len(x.early.list)
}
