package benchmarks

import (
	"sync"
	"time"

	"github.com/sluicehq/sluice/benchmarks/report"
	"github.com/sluicehq/sluice/benchmarks/target"
)

// sampleEvery is how far apart the samples of a series are.
const sampleEvery = 100 * time.Millisecond

// meter measures from when it is made until it is read.
type meter struct {
	session *session
	began   time.Time
	before  target.Usage
	clients time.Duration // CPU time of this process before
	arrived int64         // before it began

	// What stop has measured.
	ended   time.Time
	after   target.Usage
	load    time.Duration // CPU time of this process
	total   int64
	stopped chan struct{}   // closed by stop
	sampler sync.WaitGroup  // who samples
	samples []report.Sample // owned by the sampler until it has ended
}

// measure begins to measure.
func (s *session) measure() *meter {
	m := &meter{session: s, began: time.Now(), arrived: s.arrived(), stopped: make(chan struct{})}
	m.before, m.clients = target.UsageOf(s.endpoint.PID), target.CPUTime()
	m.sampler.Go(m.sample)
	return m
}

func (m *meter) sample() {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-m.stopped:
			return
		case now := <-tick.C:
			m.samples = append(m.samples, m.at(now))
		}
	}
}

func (m *meter) at(now time.Time) report.Sample {
	return report.Sample{
		Seconds:    now.Sub(m.began).Seconds(),
		Deliveries: m.session.arrived() - m.arrived,
		CPUSeconds: (target.UsageOf(m.session.endpoint.PID).CPU - m.before.CPU).Seconds(),
	}
}

// stop ends the measurement.
func (m *meter) stop() {
	m.ended = time.Now()
	m.after, m.load = target.UsageOf(m.session.endpoint.PID), target.CPUTime()-m.clients
	m.total = m.session.arrived() - m.arrived
	close(m.stopped)
	m.sampler.Wait()
	m.samples = append(m.samples, m.at(m.ended))
}

// report tells what was measured.
func (m *meter) report(r *report.Result, e *target.Endpoint) {
	r.Seconds = m.ended.Sub(m.began).Seconds()
	if r.Seconds > 0 {
		r.DeliveriesPerSecond = float64(m.total) / r.Seconds
		r.EventsPerSecond = float64(r.Events) / r.Seconds
	}
	r.Deliveries = m.total
	r.Series = m.samples
	used := (m.after.CPU - m.before.CPU).Seconds()
	r.Memory = m.after.RSS
	if used <= 0 {
		return
	}
	if r.CPUSeconds, r.Shared = used, e.SharesProcess(); r.Shared {
		return
	}
	r.ClientCPUSeconds = m.load.Seconds()
	r.DeliveriesPerCPUSecond = float64(m.total) / used
	r.EventsPerCPUSecond = float64(r.Events) / used
}
