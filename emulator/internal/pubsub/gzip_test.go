package pubsub

import (
	"bytes"
	"net"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
)

// A publish of the largest size, compressed on the wire, arrives whole; a larger one is refused by its size.
func TestGzipOfTheLargestPublish(t *testing.T) {
	s := newService(t, Config{})
	must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
	createSubscription(t, s, nil)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(2 * MaxRequestBytes))
	s.Register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := pubsubpb.NewPublisherClient(conn)
	send := func(n int) error {
		_, err := c.Publish(t.Context(), &pubsubpb.PublishRequest{Topic: topicName, Messages: []*pubsubpb.PubsubMessage{
			{Data: bytes.Repeat([]byte("x"), n)},
		}}, grpc.UseCompressor(gzip.Name))
		return err
	}
	if err := send(9_999_995); err != nil { // with its tag and length 10,000,000
		t.Fatal(err)
	}
	req := &pubsubpb.PullRequest{Subscription: subName, MaxMessages: 1}
	if got := must(t, s.Pull, req).ReceivedMessages; len(got) != 1 || len(got[0].Message.Data) != 9_999_995 {
		t.Error("it did not arrive whole")
	}
	checkStatus(t, send(9_999_996), codes.InvalidArgument, "The value for request_size is too large. You passed 10000001 in the request, but the maximum value is 10000000.")
	checkStatus(t, send(10_485_760), codes.InvalidArgument, "Request payload size exceeds the limit: 10485760 bytes.")
}
