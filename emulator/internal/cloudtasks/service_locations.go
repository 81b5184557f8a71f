package cloudtasks

import (
	"context"
	"maps"
	"slices"
	"strings"

	locationpb "google.golang.org/genproto/googleapis/cloud/location"
	"google.golang.org/grpc"
)

// locations is google.cloud.location.Locations.
type locations struct{ *Engine }

// registerLocations writes out what the generated code keeps to itself: that registers on a *grpc.Server alone.
func registerLocations(s grpc.ServiceRegistrar, l locations) {
	const name = "google.cloud.location.Locations"
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: name,
		HandlerType: (*locationpb.LocationsServer)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "ListLocations", Handler: unary("/"+name+"/ListLocations", locationpb.LocationsServer.ListLocations)},
			{MethodName: "GetLocation", Handler: unary("/"+name+"/GetLocation", locationpb.LocationsServer.GetLocation)},
		},
		Metadata: "google/cloud/location/locations.proto",
	}, l)
}

// unary adapts a method as generated code does.
func unary[Server, Request, Response any](fullMethod string, call func(Server, context.Context, *Request) (*Response, error)) grpc.MethodHandler {
	return func(server any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		request := new(Request)
		if err := decode(request); err != nil {
			return nil, err
		}
		if intercept == nil {
			return call(server.(Server), ctx, request)
		}
		info := &grpc.UnaryServerInfo{Server: server, FullMethod: fullMethod}
		return intercept(ctx, request, info, func(ctx context.Context, r any) (any, error) {
			return call(server.(Server), ctx, r.(*Request))
		})
	}
}

// ListLocations lists the configured location and those that have queues of the project.
func (l locations) ListLocations(_ context.Context, r *locationpb.ListLocationsRequest) (*locationpb.ListLocationsResponse, error) {
	if err := checkProject("name", r.GetName()); err != nil {
		return nil, err
	}
	matches, err := compileFilter(r.GetFilter(), (&locationpb.Location{}).ProtoReflect().Descriptor())
	if err != nil {
		return nil, err
	}
	page, err := newCursor(r.GetPageToken(), r.GetPageSize(), maxLocationPage, r.GetFilter())
	if err != nil {
		return nil, err
	}
	response := &locationpb.ListLocationsResponse{}
	for _, id := range l.ids(r.GetName()) {
		found := newLocation(r.GetName() + "/locations/" + id)
		if found.GetName() <= page.after || !matches(found.ProtoReflect()) {
			continue
		}
		if n := len(response.Locations); n == page.limit {
			response.NextPageToken = page.token(response.Locations[n-1].GetName(), true)
			break
		}
		response.Locations = append(response.Locations, found)
	}
	return response, nil
}

func (l locations) ids(project string) []string {
	set := make(map[string]bool)
	if l.config.Location != "" {
		set[l.config.Location] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range l.queues {
		if rest, ok := strings.CutPrefix(name, project+"/locations/"); ok {
			id, _, _ := strings.Cut(rest, "/")
			set[id] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// GetLocation finds every location of the right form, since queues may be created in every one.
func (l locations) GetLocation(_ context.Context, r *locationpb.GetLocationRequest) (*locationpb.Location, error) {
	if err := checkLocation("name", r.GetName()); err != nil {
		return nil, err
	}
	return newLocation(r.GetName()), nil
}

func newLocation(name string) *locationpb.Location {
	id := name[strings.LastIndexByte(name, '/')+1:]
	return &locationpb.Location{
		Name:       name,
		LocationId: id,
		Labels:     map[string]string{"cloud.googleapis.com/region": id},
	}
}
