package main

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Pushes in flight of a stream without a rate; half of what a router reads of one stream.
	window = 4096
	// Bounds the first batches; later ones are as large as the results that they follow.
	batchMax = 256
	// Calls in flight without a rate, and with one.
	callsMax      = 128
	pacedCallsMax = 8192
)

// push is one message to one client.
type push struct {
	clientID string
	payload  []byte
	durable  bool
}

// server is what is measured. A push that did not reach a device is an error.
type server interface {
	push(p push) error
	// openStream calls onResults with the number of answered pushes, and for each failure onFailure.
	openStream(onResults func(count int), onFailure func(reason string)) (stream, error)
	pushToEach(clientIDs []string, payload []byte, durable bool) error
	pushToAll(payload []byte, clients int) error
}

// stream sends pushes in batches, one at a time. close returns after all answers.
type stream interface {
	send(pushes []push)
	close()
}

type loadResult struct {
	Pushes  int64  `json:"pushes"`
	Failed  int64  `json:"failed"`
	Failure string `json:"failure"`
}

type load struct {
	target    server
	durable   bool
	ids       []string
	next      atomic.Int64
	stopping  chan struct{}
	failed    atomic.Int64
	failure   atomic.Value
	completed sync.WaitGroup
}

func startLoad(target server, c command) *load {
	l := &load{target: target, durable: c.Durable, ids: clientIDs(c), stopping: make(chan struct{})}
	switch {
	case c.Calls == "unary" && c.PerSecond == 0:
		l.saturateUnary()
	case c.Calls == "unary":
		l.paceUnary(c.PerSecond)
	case c.PerSecond == 0:
		l.saturateStream()
	default:
		l.paceStream(c.PerSecond)
	}
	return l
}

func (l *load) stop() loadResult {
	close(l.stopping)
	l.completed.Wait()
	failure, _ := l.failure.Load().(string)
	return loadResult{Pushes: l.next.Load(), Failed: l.failed.Load(), Failure: failure}
}

func (l *load) isStopped() bool {
	select {
	case <-l.stopping:
		return true
	default:
		return false
	}
}

func (l *load) nextPush() push {
	id := l.ids[int(l.next.Add(1)-1)%len(l.ids)]
	return push{clientID: id, payload: timedPayload(), durable: l.durable}
}

func (l *load) fail(reason string) {
	l.failed.Add(1)
	l.failure.CompareAndSwap(nil, reason)
}

func (l *load) call() {
	if err := l.target.push(l.nextPush()); err != nil {
		l.fail(err.Error())
	}
}

func (l *load) saturateUnary() {
	for range callsMax {
		l.completed.Go(func() {
			for !l.isStopped() {
				l.call()
			}
		})
	}
}

func (l *load) paceUnary(perSecond int) {
	free := make(chan struct{}, pacedCallsMax)
	l.pace(perSecond, func(due int) {
		for range due {
			free <- struct{}{}
			l.completed.Go(func() {
				l.call()
				<-free
			})
		}
	}, func() {})
}

func (l *load) saturateStream() {
	var s stream
	// Results call for more pushes until the last has come, and the stream is closed before.
	var sending sync.Mutex
	isClosed := false
	s, ok := l.open(func(count int) {
		sending.Lock()
		defer sending.Unlock()
		if !isClosed {
			s.send(l.batch(count))
		}
	})
	if !ok {
		return
	}
	for range window / batchMax {
		s.send(l.batch(batchMax))
	}
	l.completed.Go(func() {
		<-l.stopping
		sending.Lock()
		isClosed = true
		sending.Unlock()
		s.close()
	})
}

func (l *load) paceStream(perSecond int) {
	if s, ok := l.open(func(int) {}); ok {
		l.pace(perSecond, func(due int) { s.send(l.batch(due)) }, s.close)
	}
}

func (l *load) open(onResults func(int)) (stream, bool) {
	s, err := l.target.openStream(onResults, l.fail)
	if err != nil {
		l.fail(err.Error())
	}
	return s, err == nil
}

func (l *load) batch(count int) []push {
	pushes := make([]push, count)
	for i := range pushes {
		pushes[i] = l.nextPush()
	}
	return pushes
}

// pace calls send every millisecond with the number of pushes that are due since the last call.
func (l *load) pace(perSecond int, send func(due int), end func()) {
	l.completed.Go(func() {
		start, sent := time.Now(), 0
		for range time.Tick(time.Millisecond) {
			if l.isStopped() {
				break
			}
			due := int(time.Since(start).Seconds() * float64(perSecond))
			if due > sent {
				send(due - sent)
			}
			sent = due
		}
		end()
	})
}
