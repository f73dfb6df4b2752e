package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// Each device is subscribed to the subject of its clientId, and to this one.
const natsCommonSubject = "all"

// nats publishes to core NATS by its text protocol. A publish has no answer of its own, so each
// batch ends with a PING, whose PONG says that the server has passed all of it on.
type nats struct {
	all  []*natsConnection
	next atomic.Uint32
}

type natsConnection struct {
	net.Conn
	sending sync.Mutex
	// Called in this order, one for each PONG.
	pending chan func(error)
}

func openNats(addresses []string) (server, error) {
	n := &nats{}
	for _, address := range addresses {
		opened, err := net.Dial("tcp", address)
		if err != nil {
			return nil, err
		}
		c := &natsConnection{Conn: opened, pending: make(chan func(error), 1<<16)}
		fmt.Fprint(c, "CONNECT {\"verbose\":false}\r\n")
		go c.receive()
		n.all = append(n.all, c)
	}
	return n, nil
}

func (c *natsConnection) receive() {
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		switch line := lines.Text(); {
		case line == "PONG":
			(<-c.pending)(nil)
		case line == "PING":
			c.sending.Lock()
			fmt.Fprint(c, "PONG\r\n")
			c.sending.Unlock()
		case len(line) > 0 && line[0] == '-':
			(<-c.pending)(fmt.Errorf("%s", line))
		}
	}
}

func (n *nats) publish(messages []byte, onAnswer func(error)) {
	c := n.all[int(n.next.Add(1))%len(n.all)]
	c.sending.Lock()
	c.pending <- onAnswer
	c.Write(append(messages, "PING\r\n"...))
	c.sending.Unlock()
}

func (n *nats) publishAndWait(messages []byte) error {
	answered := make(chan error, 1)
	n.publish(messages, func(err error) { answered <- err })
	return <-answered
}

func (n *nats) push(p push) error {
	return n.publishAndWait(natsMessage(p.clientID, p.payload))
}

func (n *nats) pushToEach(ids []string, payload []byte, _ bool) error {
	var messages bytes.Buffer
	for _, id := range ids {
		messages.Write(natsMessage(id, payload))
	}
	return n.publishAndWait(messages.Bytes())
}

func (n *nats) pushToAll(payload []byte, _ int) error {
	return n.publishAndWait(natsMessage(natsCommonSubject, payload))
}

type natsStream struct {
	*nats
	onResults func(int)
	onFailure func(string)
	answers   sync.WaitGroup
}

func (n *nats) openStream(onResults func(int), onFailure func(string)) (stream, error) {
	return &natsStream{nats: n, onResults: onResults, onFailure: onFailure}, nil
}

func (s *natsStream) send(pushes []push) {
	var messages bytes.Buffer
	for _, p := range pushes {
		messages.Write(natsMessage(p.clientID, p.payload))
	}
	s.answers.Add(1)
	s.publish(messages.Bytes(), func(err error) {
		if err != nil {
			s.onFailure(err.Error())
		}
		s.onResults(len(pushes))
		s.answers.Done()
	})
}

func (s *natsStream) close() { s.answers.Wait() }

func natsMessage(subject string, payload []byte) []byte {
	return fmt.Appendf(nil, "PUB %s %d\r\n%s\r\n", subject, len(payload), payload)
}
