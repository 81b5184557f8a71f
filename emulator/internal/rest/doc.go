// Package rest serves gRPC services over HTTP and JSON by their google.api.http annotations,
// as Google's front ends do for Cloud Tasks and Pub/Sub.
//
// # Usage
//
// A [Handler] is a [grpc.ServiceRegistrar], so one Register call of an engine serves both:
//
//	handler := rest.New(rest.Config{Logger: logger})
//	for _, registrar := range []grpc.ServiceRegistrar{grpcServer, handler} {
//		tasks.Register(registrar)
//		topics.Register(registrar)
//	}
//
// Everything else comes from the descriptors: paths, custom verbs, additional bindings, bodies
// and query parameters. Services that a project mixes in (IAM, locations) are bound to the
// paths of Google's published service configurations, not to their generic annotations.
// Only unary methods are served. A call goes straight to the implementation, without a socket.
//
// A method that exists over REST alone, and takes its body as it is, is added by [Handler.HandleRaw]: Cloud
// Tasks' BufferTask is one.
//
// # Requests
//
// Field names, in bodies and in query strings, may be lowerCamelCase or the proto's own; enums
// are names or numbers; field masks may be in either case. A field that does not exist is
// refused, not ignored, with the sentences and details that Google's servers use. Bodies may be
// compressed with gzip. The Content-Type is not looked at: curl's default works. The method may
// be overridden by X-HTTP-Method-Override, as Google's clients do when a URL grows too long.
// Headers authorization, user-agent and x-goog-* reach the implementation as gRPC metadata.
//
// # Answers
//
// JSON with two spaces, in the order of the proto, as the real services write it;
// alt=json;enum-encoding=int writes enums as numbers and prettyPrint=false leaves out the space.
// Errors are {"error":{"code","message","status","details"}} with the HTTP status of their gRPC
// code. A panic of the implementation is logged and answers 500.
//
// # Differences from the real service
//
// An unknown path answers 404, and a known path with another method 405, both with a JSON error
// that says what was asked for; Google answers some of these with an HTML page. A request body
// where the method takes none is refused. The fields parameter, which asks for a part of the
// answer, is accepted and the whole answer is sent. Other formats than JSON are refused.
//
// # Concurrency
//
// Register services before the first request. From then on a Handler may be used by any number
// of goroutines.
//
// The grammar of the annotations is documented in google/api/http.proto, the shape of errors in
// https://cloud.google.com/apis/design/errors and the general parameters in
// https://cloud.google.com/apis/docs/system-parameters.
package rest
