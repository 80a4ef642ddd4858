package peer

// Holds returns how many datagrams wait for keys.
func (x *Transport) Holds() int { return len(x.early.list) }
