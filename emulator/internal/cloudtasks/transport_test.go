package cloudtasks

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	cloudtasks "cloud.google.com/go/cloudtasks/apiv2"
	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	locationpb "google.golang.org/genproto/googleapis/cloud/location"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"waybill.dev/emulator/internal/clock"
	"waybill.dev/emulator/internal/rest"
)

// onSockets starts an engine on real sockets and returns the official client of each transport.
func onSockets(t *testing.T) map[string]*cloudtasks.Client {
	t.Helper()
	c := clock.New()
	engine := New(Config{Clock: c, Signer: fakeSigner{}, Logger: slog.New(slog.DiscardHandler), Location: "us-central1"})
	server, overHTTP := grpc.NewServer(), rest.New(rest.Config{})
	for _, registrar := range []grpc.ServiceRegistrar{server, overHTTP} {
		engine.Register(registrar)
	}
	engine.RegisterREST(overHTTP)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	front := httptest.NewServer(overHTTP)
	overGRPC, err := cloudtasks.NewClient(t.Context(), option.WithEndpoint(listener.Addr().String()), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	overREST, err := cloudtasks.NewRESTClient(t.Context(), option.WithEndpoint(front.URL), option.WithHTTPClient(&http.Client{Transport: transport}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = overGRPC.Close(), overREST.Close()
		transport.CloseIdleConnections()
		front.Close()
		server.Stop()
		<-served
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = engine.Close(ctx)
		c.Close()
	})
	return map[string]*cloudtasks.Client{"grpc": overGRPC, "rest": overREST}
}

// What the official client has beside the methods that other tests cover: operations to wait for, locations, keys.
func TestOfficialClient(t *testing.T) {
	for transport, client := range onSockets(t) {
		t.Run(transport, func(t *testing.T) {
			ctx := t.Context()
			parent := "projects/shop/locations/" + transport
			queue := parent + "/queues/a"
			if _, err := client.CreateQueue(ctx, &cloudtaskspb.CreateQueueRequest{Parent: parent, Queue: &cloudtaskspb.Queue{Name: queue}}); err != nil {
				t.Fatal(err)
			}
			task := newTask(func(task *cloudtaskspb.Task) { task.ScheduleTime = timestamppb.New(time.Now().Add(time.Hour)) })
			created, err := client.BatchCreateTasks(ctx, &cloudtaskspb.BatchCreateTasksRequest{
				Parent: queue, Requests: []*cloudtaskspb.CreateTaskRequest{{Parent: queue, Task: task}, {Task: task}, {Task: &cloudtaskspb.Task{}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			response, err := created.Wait(ctx)
			if err != nil || len(response.GetTasks()) != 2 {
				t.Fatalf("%v, %v", response, err)
			}
			metadata, err := created.Metadata()
			if err != nil || metadata.GetState() != cloudtaskspb.BatchCreateTasksMetadata_PARTIALLY_SUCCEEDED || metadata.GetFailedRequests()[2].GetCode() != int32(codes.InvalidArgument) {
				t.Errorf("%v, %v", metadata, err)
			}
			again, err := client.BatchCreateTasksOperation(created.Name()).Poll(ctx)
			if err != nil || len(again.GetTasks()) != 2 {
				t.Errorf("polling by name: %v, %v", again, err)
			}
			op, err := client.GetOperation(ctx, &longrunningpb.GetOperationRequest{Name: created.Name()})
			if err != nil || !op.GetDone() {
				t.Errorf("GetOperation: %v, %v", op, err)
			}
			deleted, err := client.BatchDeleteTasks(ctx, &cloudtaskspb.BatchDeleteTasksRequest{Parent: queue, Names: []string{response.GetTasks()[0].GetName()}})
			if err != nil {
				t.Fatal(err)
			}
			if err := deleted.Wait(ctx); err != nil {
				t.Error(err)
			}
			failed, err := client.BatchDeleteTasks(ctx, &cloudtaskspb.BatchDeleteTasksRequest{Parent: queue, Names: []string{queue + "/tasks/t"}})
			if err != nil {
				t.Fatal(err)
			}
			wantError(t, failed.Wait(ctx), codes.Aborted, "None of the requests succeeded")

			var ids []string
			all := client.ListLocations(ctx, &locationpb.ListLocationsRequest{Name: "projects/shop"})
			for {
				l, err := all.Next()
				if errors.Is(err, iterator.Done) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, l.GetLocationId())
			}
			if len(ids) == 0 {
				t.Error("no locations")
			}
			if l, err := client.GetLocation(ctx, &locationpb.GetLocationRequest{Name: parent}); err != nil || l.GetLocationId() != transport {
				t.Errorf("GetLocation: %v, %v", l, err)
			}
			const key = "projects/p/locations/l/keyRings/r/cryptoKeys/k"
			if _, err := client.UpdateCmekConfig(ctx, &cloudtaskspb.UpdateCmekConfigRequest{
				CmekConfig: &cloudtaskspb.CmekConfig{Name: parent + "/cmekConfig", KmsKey: key},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"kms_key"}},
			}); err != nil {
				t.Error(err)
			}
			if config, err := client.GetCmekConfig(ctx, &cloudtaskspb.GetCmekConfigRequest{Name: parent + "/cmekConfig"}); err != nil || config.GetKmsKey() != key {
				t.Errorf("GetCmekConfig: %v, %v", config, err)
			}
			q, err := client.UpdateQueue(ctx, &cloudtaskspb.UpdateQueueRequest{
				Queue: &cloudtaskspb.Queue{Name: queue, HttpTarget: &cloudtaskspb.HttpTarget{
					HeaderOverrides:     []*cloudtaskspb.HttpTarget_HeaderOverride{{Header: &cloudtaskspb.HttpTarget_Header{Key: "A", Value: "1"}}},
					AuthorizationHeader: &cloudtaskspb.HttpTarget_OidcToken{OidcToken: &cloudtaskspb.OidcToken{ServiceAccountEmail: account, Audience: "a"}},
				}},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"http_target.header_overrides", "http_target.oidc_token"}},
			})
			if err != nil || q.GetHttpTarget().GetOidcToken().GetAudience() != "a" || len(q.GetHttpTarget().GetHeaderOverrides()) != 1 {
				t.Errorf("UpdateQueue: %v, %v", q, err)
			}
		})
	}
}
