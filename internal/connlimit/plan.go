package connlimit

// Plan divides a process's descriptors.
type Plan struct {
	Public int // connections of the public listener; 0: no bound
	Admin  int // connections of the admin listener
	Spare  int // connections of either that are answered 503
}

// What connections of strangers leave to the rest of the process.
const (
	forAdmin = 64
	forSpare = 16
	forRest  = 64 // the store, the database, epolls, logs, what is being handed over
)

// PlanFor divides so many descriptors, 0 for any number: the reserve is fixed, but no more
// than half of what there is. Sockets are how many the public listener is to serve, 0 for any
// number: each may need two connections, and there are requests beside them.
func PlanFor(descriptors, sockets int) Plan {
	p := Plan{Admin: forAdmin, Spare: forSpare}
	if descriptors > 0 {
		reserve := forAdmin + 2*forSpare + forRest
		if reserve > descriptors/2 {
			reserve = descriptors / 2
			p.Admin, p.Spare = max(2, reserve/4), max(1, reserve/16)
		}
		p.Public = max(1, descriptors-reserve)
	}
	if most := 2*sockets + forAdmin; sockets > 0 && (p.Public == 0 || most < p.Public) {
		p.Public = most
	}
	return p
}
