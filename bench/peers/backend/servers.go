package main

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protowire"
)

var servers = map[string]func(addresses []string) (server, error){
	"longline":        openLongline,
	"longline-stored": openLonglineStored,
	"longline-http":   openLonglineHTTP,
	"centrifugo":      openCentrifugo,
	"nats":            openNats,
}

// grpcConnections are one connection for each address, used in turn.
type grpcConnections struct {
	all  []*grpc.ClientConn
	next atomic.Uint32
}

func dial(addresses []string) (*grpcConnections, error) {
	connections := &grpcConnections{}
	for _, address := range addresses {
		connection, err := grpc.NewClient(address,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodec(encoded{}), grpc.MaxCallRecvMsgSize(64<<20)))
		if err != nil {
			return nil, err
		}
		connections.all = append(connections.all, connection)
	}
	return connections, nil
}

func (c *grpcConnections) invoke(method string, request []byte) ([]byte, error) {
	connection := c.all[int(c.next.Add(1))%len(c.all)]
	var response []byte
	err := connection.Invoke(context.Background(), method, &request, &response)
	return response, err
}

// encoded is a codec for messages that are encoded already.
type encoded struct{}

func (encoded) Name() string                  { return "proto" }
func (encoded) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (encoded) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

func appendString(to []byte, number protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(to, number, protowire.BytesType), value)
}

func appendBytes(to []byte, number protowire.Number, value []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, number, protowire.BytesType), value)
}

func appendVarint(to []byte, number protowire.Number, value uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(to, number, protowire.VarintType), value)
}

// forEachField calls fn with each field of a message: bytes is set for strings and messages, value
// for integers.
func forEachField(message []byte, fn func(number protowire.Number, bytes []byte, value uint64)) {
	for len(message) > 0 {
		number, kind, length := protowire.ConsumeTag(message)
		if length < 0 {
			return
		}
		message = message[length:]
		size := protowire.ConsumeFieldValue(number, kind, message)
		if size < 0 {
			return
		}
		switch kind {
		case protowire.BytesType:
			bytes, _ := protowire.ConsumeBytes(message)
			fn(number, bytes, 0)
		case protowire.VarintType:
			value, _ := protowire.ConsumeVarint(message)
			fn(number, nil, value)
		}
		message = message[size:]
	}
}
