package pubsub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"strings"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

const sizeTopic = "projects/shop/topics/user-signed-up"

func requestOf(m *Message) *pubsubpb.PublishRequest {
	return &pubsubpb.PublishRequest{Topic: sizeTopic, Messages: []*pubsubpb.PubsubMessage{{
		Data: m.Data, Attributes: m.Attributes, OrderingKey: m.OrderingKey,
	}}}
}

func TestTheSizeIsProtobufs(t *testing.T) {
	for _, m := range []Message{
		{Data: []byte("x")},
		{Data: make([]byte, 127)},
		{Data: make([]byte, 128)},
		{Data: make([]byte, 1<<20), OrderingKey: strings.Repeat("k", 300)},
		{Attributes: map[string]string{"": "", "a": "", "ce-id": strings.Repeat("v", 1024)}},
		{Data: []byte("x"), Attributes: map[string]string{strings.Repeat("k", 256): strings.Repeat("v", 200)}},
	} {
		if got, want := m.requestSize(sizeTopic), proto.Size(requestOf(&m)); got != want {
			t.Errorf("requestSize = %d, proto.Size = %d", got, want)
		}
	}
}

func TestMessageLimits(t *testing.T) {
	largest := Message{Data: make([]byte, MaxRequestSize)}
	largest.Data = largest.Data[:MaxRequestSize-(proto.Size(requestOf(&largest))-MaxRequestSize)]
	above := Message{Data: make([]byte, len(largest.Data)+1)}
	many := make(map[string]string)
	for i := range MaxAttributes {
		many[fmt.Sprint("key", i)] = "v"
	}
	more := maps.Clone(many)
	more["one more"] = "v"
	with := func(key, value string) Message {
		return Message{Data: []byte("x"), Attributes: map[string]string{key: value}}
	}
	for _, test := range []struct {
		name      string
		m         Message
		ok, large bool
	}{
		{"the largest", largest, true, false},
		{"a byte above", above, false, true},
		{"empty", Message{}, false, false},
		{"an ordering key alone", Message{OrderingKey: "k"}, false, false},
		{"an attribute alone", Message{Attributes: map[string]string{"a": ""}}, true, false},
		{"100 attributes", Message{Attributes: many}, true, false},
		{"101 attributes", Message{Attributes: more}, false, true},
		{"the longest key", with(strings.Repeat("k", 256), ""), true, false},
		{"a longer key", with(strings.Repeat("k", 257), ""), false, true},
		{"an empty key", with("", "v"), false, false},
		{"Google's own key", with("GoogClient", "v"), false, false},
		{"a key that begins otherwise", with("goo", "v"), true, false},
		{"the longest value", with("a", strings.Repeat("v", 1024)), true, false},
		{"a longer value", with("a", strings.Repeat("v", 1025)), false, true},
		{"bytes in a value", with("a", "\xff"), false, false},
		{"the longest ordering key", Message{Data: []byte("x"), OrderingKey: strings.Repeat("k", 1024)}, true, false},
		{"a longer ordering key", Message{Data: []byte("x"), OrderingKey: strings.Repeat("k", 1025)}, false, true},
		{"bytes in an ordering key", Message{Data: []byte("x"), OrderingKey: "\xff"}, false, false},
	} {
		err := test.m.validate(sizeTopic)
		if (err == nil) != test.ok || errors.Is(err, ErrTooLarge) != test.large {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestTheLargestMessageTravels(t *testing.T) {
	// Above gRPC's default limit of 4 MiB; the client and Google's bundler must both take it.
	largest := Message{Data: make([]byte, MaxRequestSize)}
	largest.Data = largest.Data[:MaxRequestSize-(proto.Size(requestOf(&largest))-MaxRequestSize)]
	fake := newSizeServer(t)
	client, err := NewClient(t.Context(), Config{Project: "shop"}, EmulatorOptions(fake.addr)...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Publish(t.Context(), sizeTopic, largest); err != nil {
		t.Fatal(err)
	}
	if got := <-fake.size; got != len(largest.Data) {
		t.Errorf("%d bytes arrived of %d", got, len(largest.Data))
	}
}

type sizeServer struct {
	pubsubpb.UnimplementedPublisherServer
	addr string
	size chan int
}

func newSizeServer(t *testing.T) *sizeServer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fake := &sizeServer{addr: listener.Addr().String(), size: make(chan int, 1)}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(20 << 20))
	pubsubpb.RegisterPublisherServer(server, fake)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() { server.Stop(); <-served })
	return fake
}

func (s *sizeServer) Publish(_ context.Context, req *pubsubpb.PublishRequest) (*pubsubpb.PublishResponse, error) {
	s.size <- len(req.GetMessages()[0].GetData())
	return &pubsubpb.PublishResponse{MessageIds: []string{"1"}}, nil
}
