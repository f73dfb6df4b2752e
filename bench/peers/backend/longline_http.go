package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	httpHead = "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/%s\r\n"
	written  = `"verdict":"WRITTEN"`
)

// longlineHTTP pushes through the HTTP ports of Longline's routers: router/push/http.
type longlineHTTP struct {
	addresses []string
	next      atomic.Uint32
	idle      chan *httpConnection
}

type httpConnection struct {
	net.Conn
	reader *bufio.Reader
	head   string
}

func openLonglineHTTP(addresses []string) (server, error) {
	return &longlineHTTP{addresses: addresses, idle: make(chan *httpConnection, pacedCallsMax)}, nil
}

func (l *longlineHTTP) dial() (*httpConnection, error) {
	address := l.addresses[int(l.next.Add(1))%len(l.addresses)]
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	head := fmt.Sprintf(httpHead, "/v1/push", address, "json") + "Content-Length: "
	return &httpConnection{conn, bufio.NewReader(conn), head}, nil
}

func (l *longlineHTTP) push(p push) (err error) {
	var c *httpConnection
	select {
	case c = <-l.idle:
	default:
		if c, err = l.dial(); err != nil {
			return err
		}
	}
	body := appendPush([]byte{'{'}, p)
	request := strconv.AppendInt([]byte(c.head), int64(len(body)), 10)
	request = append(append(request, "\r\n\r\n"...), body...)
	if _, err := c.Write(request); err != nil {
		return err
	}
	response, err := c.readResponse()
	if err != nil {
		return err
	}
	l.idle <- c
	if !bytes.Contains(response, []byte(written)) {
		return errors.New(string(response))
	}
	return nil
}

// readResponse returns the body of a response with a Content-Length.
func (c *httpConnection) readResponse() ([]byte, error) {
	length := 0
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		if len(line) == 2 {
			body := make([]byte, length)
			_, err := io.ReadFull(c.reader, body)
			return body, err
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			length, _ = strconv.Atoi(strings.TrimSpace(string(value)))
		}
	}
}

func (l *longlineHTTP) pushToEach([]string, []byte, bool) error { return errors.ErrUnsupported }
func (l *longlineHTTP) pushToAll([]byte, int) error             { return errors.ErrUnsupported }

// httpStreams is one stream to each router.
type httpStreams struct {
	all       []*httpConnection
	next      int
	nextID    uint64
	sending   sync.Mutex
	receiving sync.WaitGroup
}

func (l *longlineHTTP) openStream(onResults func(int), onFailure func(string)) (stream, error) {
	streams := &httpStreams{}
	for _, address := range l.addresses {
		c, err := l.dial()
		if err != nil {
			return nil, err
		}
		head := fmt.Sprintf(httpHead, "/v1/push:stream", address, "x-ndjson")
		if _, err := io.WriteString(c, head+"Transfer-Encoding: chunked\r\n\r\n"); err != nil {
			return nil, err
		}
		streams.all = append(streams.all, c)
		streams.receiving.Go(func() { c.receiveLines(onResults, onFailure) })
	}
	return streams, nil
}

func (s *httpStreams) send(pushes []push) {
	s.sending.Lock()
	defer s.sending.Unlock()
	var lines []byte
	for _, p := range pushes {
		lines = append(lines, `{"correlationId":"`...)
		lines = append(strconv.AppendUint(lines, s.nextID, 10), `",`...)
		lines = append(appendPush(lines, p), '\n')
		s.nextID++
	}
	// An error of the stream is reported where its results are received.
	fmt.Fprintf(s.all[s.next%len(s.all)], "%x\r\n%s\r\n", len(lines), lines)
	s.next++
}

func (s *httpStreams) close() {
	s.sending.Lock()
	for _, each := range s.all {
		io.WriteString(each, "0\r\n\r\n")
	}
	s.sending.Unlock()
	s.receiving.Wait()
}

func (c *httpConnection) receiveLines(onResults func(int), onFailure func(string)) {
	defer c.Close()
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = c.reader.ReadString('\n'); err != nil {
			onFailure(err.Error())
			return
		}
	}
	chunks := httputil.NewChunkedReader(c.reader)
	buffer := make([]byte, 1<<16)
	var rest []byte
	for {
		n, err := chunks.Read(buffer)
		lines := bytes.Split(append(rest, buffer[:n]...), []byte{'\n'})
		rest = append([]byte(nil), lines[len(lines)-1]...)
		for _, line := range lines[:len(lines)-1] {
			if !bytes.Contains(line, []byte(written)) {
				onFailure(string(line))
			}
		}
		if len(lines) > 1 {
			onResults(len(lines) - 1)
		}
		if err != nil {
			if err != io.EOF {
				onFailure(err.Error())
			}
			return
		}
	}
}

// appendPush appends the members of a push and the end of its object. The payload is JSON.
func appendPush(to []byte, p push) []byte {
	to = fmt.Appendf(to, `"clientId":"%s","payload":%s,"waitMs":%d`, p.clientID, p.payload, waitMs)
	if !p.durable {
		to = append(to, `,"ttlMs":0`...)
	}
	return append(to, '}')
}
