package metrics

import (
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// SampleSize bounds the values of one timing that StatsD gets per flush
// interval; beyond it they are a uniform sample.
const SampleSize = 128

// timingSample is a uniform sample of the durations since it was last taken. Each
// duration draws a number, and those with the smallest are the sample: so which one
// came first does not matter, and most are known not to be in it without a lock.
type timingSample struct {
	// bound is what a number must be below: the largest in a sample that is full.
	// Written under mu, read by any.
	bound atomic.Uint64

	mu sync.Mutex
	// Guarded by mu.
	values  []drawn // up to SampleSize
	largest int     // where the largest number stands, once there are as many
	before  uint64  // how many durations of the timing belong to samples that were taken

	sending []drawn // owned by who takes: the other of the two buffers
}

// drawn is a duration and the number that it drew.
type drawn struct {
	number   uint64
	duration time.Duration
}

func (s *timingSample) init() {
	s.values, s.sending = make([]drawn, 0, SampleSize), make([]drawn, 0, SampleSize)
	s.bound.Store(math.MaxUint64)
}

// offer has a duration draw.
func (s *timingSample) offer(d time.Duration) {
	if number := rand.Uint64(); number < s.bound.Load() {
		s.keep(drawn{number, d})
	}
}

func (s *timingSample) keep(v drawn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case len(s.values) < SampleSize:
		s.values = append(s.values, v)
	case v.number < s.values[s.largest].number:
		s.values[s.largest] = v
	default: // the bound has come down meanwhile
		return
	}
	if len(s.values) < SampleSize {
		return
	}
	s.largest = 0
	for i := range s.values {
		if s.values[i].number > s.values[s.largest].number {
			s.largest = i
		}
	}
	s.bound.Store(s.values[s.largest].number)
}

// take begins a new sample, and returns the old one, with what part of all durations it
// is. It holds until the next take. seen tells how many there have been since the timing
// was made: a duration is counted before it draws, so that no sample has more than that.
// Those that are counted and have not drawn at this moment count for this sample, and may
// be values of the next.
func (s *timingSample) take(seen func() uint64) (values []drawn, rate float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values, s.sending = s.sending[:0], s.values
	s.bound.Store(math.MaxUint64)
	now, all := seen(), uint64(len(s.sending))
	if all < SampleSize {
		s.before = min(s.before+all, now)
	} else {
		all = max(all, now-s.before)
		s.before = now
	}
	return s.sending, float64(len(s.sending)) / float64(max(all, 1))
}
