package cloudtasks

import (
	"context"
	"crypto/sha256"
	"strings"

	"cloud.google.com/go/longrunning/autogen/longrunningpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	// maxOperations and maxOperationBytes bound what is remembered of batches; the oldest are forgotten first.
	maxOperations     = 1000
	maxOperationBytes = 16 << 20
)

// operations are the long-running operations of batches, which have all ended: a batch is done before its call
// returns. The [Engine] guards them by its lock.
type operations struct {
	byName map[string]*operation
	oldest []*operation
	bytes  int
	last   uint64 // number of the latest

	journal journal
}

// operation is never changed.
type operation struct {
	kept    *longrunningpb.Operation
	request [sha256.Size]byte // what it did, to know a repetition
	number  uint64            // counts them
}

// add keeps a new operation.
func (o *operations) add(op *longrunningpb.Operation, request [sha256.Size]byte) {
	o.last++
	added := &operation{kept: op, request: request, number: o.last}
	o.journal.putOperation(added)
	o.adopt(added)
}

// adopt is add for what is in the journal already.
func (o *operations) adopt(op *operation) {
	o.last = max(o.last, op.number)
	if o.byName == nil {
		o.byName = make(map[string]*operation)
	}
	o.byName[op.kept.GetName()] = op
	o.oldest = append(o.oldest, op)
	o.bytes += proto.Size(op.kept)
	for len(o.oldest) > 1 && (len(o.oldest) > maxOperations || o.bytes > maxOperationBytes) {
		first := o.oldest[0]
		o.oldest[0], o.oldest = nil, o.oldest[1:]
		o.bytes -= proto.Size(first.kept)
		delete(o.byName, first.kept.GetName())
		o.journal.deleteOperation(first.kept.GetName())
	}
}

// find returns the operation of that name, if it did what is asked for now; nil if there is none.
func (o *operations) find(name string, request [sha256.Size]byte) (*longrunningpb.Operation, error) {
	op, exists := o.byName[name]
	switch {
	case !exists:
		return nil, nil //nolint:nilnil // nothing found is no error
	case op.request != request:
		return nil, invalid("request_id", "The requestId was used lately by another request: use a new one, as a UUID.")
	default:
		return proto.CloneOf(op.kept), nil
	}
}

// fingerprint tells requests apart, whatever the order of their maps.
func fingerprint(request proto.Message) [sha256.Size]byte {
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return [sha256.Size]byte{} // a string that is no UTF-8, which no transport lets through
	}
	return sha256.Sum256(append([]byte(request.ProtoReflect().Descriptor().FullName()), text...))
}

// finished makes an operation that has ended, with a response or an error.
func finished(name string, metadata, response proto.Message, failure error) (*longrunningpb.Operation, error) {
	op := &longrunningpb.Operation{Name: name, Done: true}
	var err error
	if op.Metadata, err = anypb.New(metadata); err != nil {
		return nil, err
	}
	if failure != nil {
		op.Result = &longrunningpb.Operation_Error{Error: status.Convert(failure).Proto()}
		return op, nil
	}
	value, err := anypb.New(response)
	op.Result = &longrunningpb.Operation_Response{Response: value}
	return op, err
}

// lro is google.longrunning.Operations, as much as Cloud Tasks publishes of it, and WaitOperation, which has nothing
// to wait for.
type lro struct {
	longrunningpb.UnimplementedOperationsServer
	*Engine
}

// GetOperation finds one of the latest operations.
func (l lro) GetOperation(_ context.Context, r *longrunningpb.GetOperationRequest) (*longrunningpb.Operation, error) {
	return l.operation(r.GetName())
}

// WaitOperation returns at once.
func (l lro) WaitOperation(_ context.Context, r *longrunningpb.WaitOperationRequest) (*longrunningpb.Operation, error) {
	return l.operation(r.GetName())
}

func (l lro) operation(name string) (*longrunningpb.Operation, error) {
	parent, id, found := strings.Cut(name, "/operations/")
	if !found || !wellFormed(parent, isProject, isLocation) || !isRequestID(id) {
		return nil, invalid("name", "%q is not an operation name: it must be formatted \"projects/PROJECT_ID/locations/LOCATION_ID/operations/OPERATION_ID\".", name)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if op, ok := l.Engine.operations.byName[name]; ok {
		return proto.CloneOf(op.kept), nil
	}
	return nil, status.Errorf(codes.NotFound, "Operation %q does not exist: the emulator remembers the last %d.", name, maxOperations)
}

func isRequestID(id string) bool { return isID(id, 100, "-_.~") }
