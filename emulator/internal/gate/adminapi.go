package gate

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"cloud.google.com/go/iam/apiv1/iampb"
	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
)

// maxPolicy bounds a request's body. IAM allows a policy some tens of KB.
const maxPolicy = 256 << 10

// Pattern is where [Services.ServeHTTP] belongs: the methods of Cloud Run's Admin API on one service.
const Pattern = "/v2/projects/{project}/locations/{location}/services/{method}"

// ServeHTTP is getIamPolicy and setIamPolicy of Cloud Run's Admin API
// (https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services).
func (s *Services) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	code := http.StatusOK
	var body []byte
	policy, err := s.call(w, r)
	if err == nil {
		body, err = protojson.Marshal(policy)
	}
	if err != nil {
		code, body = errorBody(status.Convert(err))
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(code)
	_, _ = w.Write(body) // nobody is left to tell
}

// errorBody is an error in the form of Google's JSON APIs.
func errorBody(s *status.Status) (httpStatus int, body []byte) {
	httpStatus, ok := map[codes.Code]int{
		codes.InvalidArgument: http.StatusBadRequest,
		codes.NotFound:        http.StatusNotFound,
		codes.Aborted:         http.StatusConflict,
		codes.Unimplemented:   http.StatusNotImplemented,
	}[s.Code()]
	if !ok {
		httpStatus = http.StatusInternalServerError
	}
	body, err := json.Marshal(map[string]any{"error": map[string]any{
		"code": httpStatus, "message": s.Message(), "status": rpccode.Code(s.Code()).String(),
	}})
	if err != nil {
		body = []byte(`{}`)
	}
	return httpStatus, body
}

func (s *Services) call(w http.ResponseWriter, r *http.Request) (*iampb.Policy, error) {
	service, method, _ := strings.Cut(r.PathValue("method"), ":")
	called := r.Method + " " + method
	if called != http.MethodGet+" getIamPolicy" && called != http.MethodPost+" setIamPolicy" {
		return nil, status.Error(codes.Unimplemented, "the emulator serves GET :getIamPolicy and POST :setIamPolicy of Cloud Run and nothing else")
	}
	g, err := s.find("projects/" + r.PathValue("project") + "/locations/" + r.PathValue("location") + "/services/" + service)
	if err != nil {
		return nil, err
	}
	if method == "getIamPolicy" {
		return g.checker.policy.get(), nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPolicy))
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "the body cannot be read, or is longer than any policy")
	}
	var request iampb.SetIamPolicyRequest
	if err := protojson.Unmarshal(body, &request); err != nil {
		return nil, status.Error(codes.InvalidArgument, `the body must be JSON, as in {"policy": {"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}}: `+err.Error())
	}
	if request.GetPolicy() == nil {
		return nil, status.Error(codes.InvalidArgument, "policy is required; an empty one takes every role away")
	}
	return g.checker.policy.set(request.GetPolicy())
}
