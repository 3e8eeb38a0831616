package pipeline

import "time"

// meter makes the reports of one stage in one line. A nil one does nothing, and
// asks no clock.
type meter struct {
	recorder Recorder
	report   Report
	free     time.Time // since when the stage waits for events
	busy     time.Time // since when it handles
}

func newMeter(r Recorder) *meter {
	if r == nil {
		return nil
	}
	return &meter{recorder: r, free: time.Now()}
}

// begin notes the arrival of a batch that was sent at the given time.
func (m *meter) begin(events int, sent time.Time) {
	if m == nil {
		return
	}
	m.busy = time.Now()
	m.report.In += events
	m.report.AwaitEvents += m.busy.Sub(m.free)
	if !sent.IsZero() {
		m.report.Wait += m.busy.Sub(sent)
	}
}

func (m *meter) retried() {
	if m != nil {
		m.report.Retries++
	}
}

// end ends the step, and returns when that was. It is told by record, which comes when
// what was made has been handed on.
func (m *meter) end(out, failed int) time.Time {
	if m == nil {
		return time.Time{}
	}
	now := time.Now()
	m.report.Out += out
	m.report.Failed += failed
	m.report.Took += now.Sub(m.busy)
	m.free, m.busy = now, now
	return now
}

// record tells of the steps that have ended.
func (m *meter) record() {
	if m != nil {
		report := m.report
		m.report = Report{}
		m.recorder.Record(report)
	}
}

// sent records events that go on outside of begin and end: a batcher's.
func (m *meter) sent(out int) time.Time {
	if m == nil {
		return time.Time{}
	}
	m.report.Out += out
	return time.Now()
}
