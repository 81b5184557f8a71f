package pubsub

import (
	"runtime"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
)

func TestMemoryOfALargeBacklogIsGivenBack(t *testing.T) {
	const n = 40 // requests of a megabyte: more than releaseFrom
	for name, empty := range map[string]func(s *Service){
		"drained": func(s *Service) {
			for got := 0; got < n*1000; {
				messages := must(t, s.Pull, &pubsubpb.PullRequest{Subscription: subName, MaxMessages: 1000}).ReceivedMessages
				ack(t, s, messages...)
				got += len(messages)
			}
		},
		"deleted": func(s *Service) {
			must(t, s.DeleteSubscription, &pubsubpb.DeleteSubscriptionRequest{Subscription: subName})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t, Config{})
			must(t, s.CreateTopic, &pubsubpb.Topic{Name: topicName})
			createSubscription(t, s, nil)
			for range n {
				must(t, s.Publish, &pubsubpb.PublishRequest{Topic: topicName, Messages: kilobyte(1000)})
			}
			held := residentHeap()
			empty(s)
			if err := s.Close(t.Context()); err != nil { // waits for what it has started
				t.Fatal(err)
			}
			if left := residentHeap(); left > held-releaseFrom {
				t.Errorf("the heap takes %d MB with the backlog and %d MB without it", held>>20, left>>20)
			}
		})
	}
}

// residentHeap is what the heap takes of the system's memory, used or not.
func residentHeap() int {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapSys - m.HeapReleased) //nolint:gosec // far below the limit
}
