package fec

// How a block of media packets is shared out among its repair packets.
//
// Interleaved, packet i is protected by repair i mod m alone: m losses in a row are repaired, but two of one repair are not. Spread,
// every packet is protected by another choice of one or two repairs, first each alone, then neighbours, then those two apart, and so
// on, until the choices are used up: two losses are repaired unless they have the same choice, and the loss of a repair packet costs
// less. Where losses are random, spread leaves half or less of what interleaved does; where they come in bursts it leaves about a
// tenth more (TestMasksAreChosenByTheLoss).

// interleaved returns which of m repairs protect packet i of a block, as bits.
func interleaved(i, m int) uint64 { return 1 << (i % m) }

func spread(i, m int) uint64 {
	t := i % (m + m*(m-1)/2)
	if t < m {
		return 1 << t
	}
	t -= m
	for d := 1; 2*d <= m; d++ { // pairs of repairs d apart, on a circle
		pairs := m
		if 2*d == m {
			pairs = d
		}
		if t < pairs {
			return 1<<t | 1<<((t+d)%m)
		}
		t -= pairs
	}
	return 1
}
