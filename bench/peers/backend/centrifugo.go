package main

import (
	"errors"
	"fmt"
	"sync"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	centrifugoAPI = "/centrifugal.centrifugo.api.CentrifugoApi/"
	// Namespaces of bench/peers/centrifugo.ts: with history, and without.
	durableNamespace = "durable:#"
	liveNamespace    = "live:#"
	// Each device is subscribed to it.
	commonChannel = "live:all"
)

// centrifugo publishes through the gRPC API of Centrifugo, to the personal channel of each user.
type centrifugo struct{ *grpcConnections }

func openCentrifugo(addresses []string) (server, error) {
	connections, err := dial(addresses)
	return centrifugo{connections}, err
}

func (c centrifugo) push(p push) error {
	response, err := c.invoke(centrifugoAPI+"Publish", publishRequest(channelOf(p.clientID, p.durable), p.payload))
	if err != nil {
		return err
	}
	return errorOf(response, 1)
}

func (c centrifugo) pushToEach(ids []string, payload []byte, durable bool) error {
	var request []byte
	for _, id := range ids {
		request = appendString(request, 1, channelOf(id, durable))
	}
	response, err := c.invoke(centrifugoAPI+"Broadcast", appendBytes(request, 2, payload))
	if err != nil {
		return err
	}
	return errorOf(response, 1)
}

func (c centrifugo) pushToAll(payload []byte, _ int) error {
	response, err := c.invoke(centrifugoAPI+"Publish", publishRequest(commonChannel, payload))
	if err != nil {
		return err
	}
	return errorOf(response, 1)
}

// centrifugoBatches are calls of Batch, whose commands run in parallel.
type centrifugoBatches struct {
	centrifugo
	onResults func(int)
	onFailure func(string)
	calls     sync.WaitGroup
}

func (c centrifugo) openStream(onResults func(int), onFailure func(string)) (stream, error) {
	return &centrifugoBatches{centrifugo: c, onResults: onResults, onFailure: onFailure}, nil
}

func (b *centrifugoBatches) send(pushes []push) {
	b.calls.Go(func() {
		var request []byte
		for _, p := range pushes {
			publish := publishRequest(channelOf(p.clientID, p.durable), p.payload)
			request = appendBytes(request, 1, appendBytes(nil, 4, publish))
		}
		response, err := b.invoke(centrifugoAPI+"Batch", appendVarint(request, 2, 1))
		if err != nil {
			b.onFailure(err.Error())
		}
		forEachField(response, func(_ protowire.Number, reply []byte, _ uint64) {
			if err := errorOf(reply, 2); err != nil {
				b.onFailure(err.Error())
			}
		})
		b.onResults(len(pushes))
	})
}

func (b *centrifugoBatches) close() { b.calls.Wait() }

func channelOf(clientID string, durable bool) string {
	if durable {
		return durableNamespace + clientID
	}
	return liveNamespace + clientID
}

func publishRequest(channel string, payload []byte) []byte {
	return appendBytes(appendString(nil, 1, channel), 2, payload)
}

// errorOf returns the error of a response or a reply, whose field has this number.
func errorOf(response []byte, field protowire.Number) error {
	var err error
	forEachField(response, func(number protowire.Number, bytes []byte, _ uint64) {
		if number == field {
			err = errors.New(fmt.Sprintf("%q", bytes))
		}
	})
	return err
}
