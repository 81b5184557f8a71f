package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// A RawMethod exists over REST alone, and takes the body of a POST as it is: BufferTask of Cloud Tasks.
type RawMethod struct {
	// Name is the full method, as "/google.cloud.tasks.v2.CloudTasks/BufferTask".
	Name string

	// Paths are path templates of google/api/http.proto.
	Paths []string

	// Member is the one member of the answer's JSON object. Its value is the message that Call returns.
	Member string

	// Call does it. The variables are those of the path that was found, by their names.
	Call func(ctx context.Context, variables map[string]string, body []byte) (proto.Message, error)
}

// HandleRaw adds a method. It panics on what can only be a mistake in the program, as [Handler.RegisterService] does.
func (h *Handler) HandleRaw(m RawMethod) {
	for _, path := range m.Paths {
		t, err := parseTemplate(path)
		if err == nil {
			err = h.router.add(t, http.MethodPost, &route{fullMethod: m.Name, raw: &m, names: t.variables})
		}
		if err != nil {
			panic(fmt.Sprintf("rest: handling %s: %v", m.Name, err))
		}
	}
}

func (h *Handler) serveRaw(ctx context.Context, w http.ResponseWriter, r *http.Request, found match, params []param, f format) {
	message, err := h.callRaw(ctx, w, r, found, params)
	if err != nil {
		writeError(w, err, f)
		return
	}
	value, err := protojson.MarshalOptions{UseEnumNumbers: f.enumNumbers}.Marshal(message)
	if err != nil {
		writeError(w, status.Error(codes.Internal, "The answer could not be written as JSON."), f)
		return
	}
	member, err := json.Marshal(found.route.raw.Member)
	if err != nil {
		member = []byte(`""`)
	}
	write(w, http.StatusOK, bytes.Join([][]byte{[]byte("{"), member, []byte(":"), value, []byte("}")}, nil), f)
}

func (h *Handler) callRaw(ctx context.Context, w http.ResponseWriter, r *http.Request, found match, params []param) (message proto.Message, err error) {
	m := found.route.raw
	defer func() {
		if value := recover(); value != nil {
			h.logPanic(ctx, m.Name, value)
			message, err = nil, errInternal()
		}
	}()
	var problems violations
	for _, p := range params {
		if !isSystem(p.name) {
			problems.unknownName(p.name, fmt.Sprintf("Cannot bind query parameter. Field '%s' could not be found in request message.", clip(p.name)))
		}
	}
	variables := make(map[string]string, len(found.route.names))
	for _, v := range found.route.names {
		text, err := found.value(v)
		if err != nil {
			problems.add(v.field, fmt.Sprintf("Invalid value at '%s', %s", v.field, quote(clip(text))))
		}
		variables[v.field] = text
	}
	if err := problems.err(); err != nil {
		return nil, err
	}
	body, err := readBody(w, r, h.config.MaxBody)
	if err != nil {
		return nil, err
	}
	if h.config.Interceptor == nil {
		return m.Call(ctx, variables, body)
	}
	info := &grpc.UnaryServerInfo{FullMethod: m.Name}
	reply, err := h.config.Interceptor(ctx, variables, info, func(ctx context.Context, _ any) (any, error) {
		return m.Call(ctx, variables, body)
	})
	if err != nil {
		return nil, err
	}
	message, ok := reply.(proto.Message)
	if !ok {
		return nil, errors.New("the interceptor changed the answer")
	}
	return message, nil
}
