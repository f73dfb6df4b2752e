package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	pushService    = "/longline.v1.PushService/"
	verdictWritten = 1
	verdictStored  = 5
	waitForStored  = 1
	// Far longer than any push takes on a machine that is merely slow.
	waitMs = 30_000
	// The router's maximum of clients per call of PushMany.
	clientsPerCallMax = 10_000
)

// longline pushes through the routers of Longline: proto/longline/v1/push.proto.
type longline struct {
	*grpcConnections
	// Durable pushes are answered when Redis has them, not when an edge has written them.
	storedIsEnough bool
}

func openLongline(addresses []string) (server, error) {
	connections, err := dial(addresses)
	return longline{grpcConnections: connections}, err
}

func openLonglineStored(addresses []string) (server, error) {
	connections, err := dial(addresses)
	return longline{grpcConnections: connections, storedIsEnough: true}, err
}

func (l longline) push(p push) error {
	response, err := l.invoke(pushService+"Push", l.pushRequest(p))
	if err != nil {
		return err
	}
	return l.requireVerdict(response)
}

func (l longline) pushToEach(ids []string, payload []byte, durable bool) error {
	calls := (len(ids) + clientsPerCallMax - 1) / clientsPerCallMax
	results := make(chan error, calls)
	for i := range calls {
		part := ids[i*len(ids)/calls : (i+1)*len(ids)/calls]
		go func() { results <- l.pushMany(part, payload, durable) }()
	}
	var failures []error
	for range calls {
		failures = append(failures, <-results)
	}
	return errors.Join(failures...)
}

func (l longline) pushMany(ids []string, payload []byte, durable bool) error {
	var request []byte
	for _, id := range ids {
		request = appendString(request, 1, id)
	}
	request = appendVarint(appendBytes(request, 2, payload), 3, waitMs)
	request = l.appendKind(request, durable)
	response, err := l.invoke(pushService+"PushMany", request)
	if err != nil {
		return err
	}
	enough := 0
	forEachField(response, func(number protowire.Number, count []byte, _ uint64) {
		if number != 1 {
			return
		}
		var verdict, clients uint64
		forEachField(count, func(number protowire.Number, _ []byte, value uint64) {
			if number == 1 {
				verdict = value
			} else if number == 2 {
				clients = value
			}
		})
		if l.isEnough(verdict) {
			enough += int(clients)
		}
	})
	if enough != len(ids) {
		return fmt.Errorf("%d of %d pushes have the verdict that is waited for", enough, len(ids))
	}
	return nil
}

func (l longline) pushToAll(payload []byte, clients int) error {
	request := appendVarint(appendBytes(nil, 1, payload), 2, math.MaxInt32)
	response, err := l.invoke(pushService+"Broadcast", request)
	if err != nil {
		return err
	}
	written := 0
	forEachField(response, func(number protowire.Number, _ []byte, value uint64) {
		if number == 1 {
			written = int(value)
		}
	})
	if written != clients {
		return fmt.Errorf("%d of %d clients were reached", written, clients)
	}
	return nil
}

// longlineStreams is one PushStream to each router.
type longlineStreams struct {
	of        longline
	all       []grpc.ClientStream
	next      int
	nextID    uint64
	sending   sync.Mutex
	receiving sync.WaitGroup
}

func (l longline) openStream(onResults func(int), onFailure func(string)) (stream, error) {
	streams := &longlineStreams{of: l, nextID: 1}
	description := &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}
	for _, connection := range l.all {
		opened, err := connection.NewStream(context.Background(), description, pushService+"PushStream")
		if err != nil {
			return nil, err
		}
		streams.all = append(streams.all, opened)
		streams.receiving.Go(func() { l.receiveResults(opened, onResults, onFailure) })
	}
	return streams, nil
}

func (s *longlineStreams) send(pushes []push) {
	s.sending.Lock()
	defer s.sending.Unlock()
	var request []byte
	for _, p := range pushes {
		item := appendBytes(appendVarint(nil, 1, s.nextID), 2, s.of.pushRequest(p))
		request = appendBytes(request, 1, item)
		s.nextID++
	}
	// An error of the stream is reported where its results are received.
	s.all[s.next%len(s.all)].SendMsg(&request)
	s.next++
}

func (s *longlineStreams) close() {
	s.sending.Lock()
	for _, each := range s.all {
		each.CloseSend()
	}
	s.sending.Unlock()
	s.receiving.Wait()
}

func (l longline) receiveResults(from grpc.ClientStream, onResults func(int), onFailure func(string)) {
	for {
		var response []byte
		if err := from.RecvMsg(&response); err != nil {
			if err.Error() != "EOF" {
				onFailure(err.Error())
			}
			return
		}
		count := 0
		forEachField(response, func(_ protowire.Number, result []byte, _ uint64) {
			count++
			var outcome []byte
			isPush := false
			forEachField(result, func(number protowire.Number, bytes []byte, _ uint64) {
				if number >= 2 {
					outcome, isPush = bytes, number == 2
				}
			})
			if !isPush {
				onFailure(fmt.Sprintf("%q", outcome))
			} else if err := l.requireVerdict(outcome); err != nil {
				onFailure(err.Error())
			}
		})
		onResults(count)
	}
}

func (l longline) pushRequest(p push) []byte {
	request := make([]byte, 0, len(p.clientID)+len(p.payload)+18)
	request = appendBytes(appendString(request, 1, p.clientID), 2, p.payload)
	return l.appendKind(appendVarint(request, 3, waitMs), p.durable)
}

// appendKind appends what Push and PushMany have alike: no TTL, or what to wait for.
func (l longline) appendKind(request []byte, durable bool) []byte {
	if !durable {
		return appendVarint(request, 4, 0)
	}
	if l.storedIsEnough {
		return appendVarint(request, 8, waitForStored)
	}
	return request
}

func (l longline) isEnough(verdict uint64) bool {
	return verdict == verdictWritten || l.storedIsEnough && verdict == verdictStored
}

func (l longline) requireVerdict(response []byte) error {
	var verdict uint64
	forEachField(response, func(number protowire.Number, _ []byte, value uint64) {
		if number == 1 {
			verdict = value
		}
	})
	if !l.isEnough(verdict) {
		return fmt.Errorf("verdict %d", verdict)
	}
	return nil
}
