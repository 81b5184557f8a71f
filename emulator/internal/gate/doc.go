// Package gate does what Cloud Run does in front of a container: it verifies the ID token of a request, checks that
// the caller may invoke the service, and forwards what it lets in.
//
// A [Gate] listens on an address of its own, and its URL is the service's. [Services] keeps the gates of an emulator
// and serves their IAM policies as Cloud Run's Admin API does.
//
// # Who is let in
//
//	which header                  X-Serverless-Authorization if it has a value, else Authorization;
//	                              "if both headers are provided, only X-Serverless-Authorization is checked" [1]
//	no token                      403
//	anything but one ID token     401: several headers or tokens, another scheme, an access token [2]
//	signature, issuer, times      401 if one of them is wrong
//	audience                      401 unless it is the service's URL, with or without a slash at its end, or exactly one
//	                              of the custom audiences [2][3]
//	role                          403 unless the account holds roles/run.invoker (or run.admin) on the service [2]
//	allUsers holds the role       everybody is let in, nothing is verified, and no header is touched
//
// That a token's audience may have the slash follows from Google's tutorial for Pub/Sub, which pushes to SERVICE-URL/ with
// the default audience (https://cloud.google.com/run/docs/tutorials/pubsub).
//
// The bodies and the WWW-Authenticate header of a refusal are those that have been published by people who met them.
//
// # What the container gets
//
// Cloud Run replaces the signature of the token that it has checked by SIGNATURE_REMOVED_BY_GOOGLE. Its page on
// troubleshooting says so of tokens in general (https://cloud.google.com/run/docs/troubleshooting#signature-removed), its
// guide to calls between services of X-Serverless-Authorization only [1], and reports differ; [Signature] chooses the
// reading. A header that was not checked arrives as it was sent.
//
//	[1] https://cloud.google.com/run/docs/authenticating/service-to-service
//	[2] https://cloud.google.com/run/docs/troubleshooting, "Client is not authenticated properly" and "Client is not
//	    authorized to invoke the service"
//	[3] https://cloud.google.com/run/docs/configuring/custom-audiences
package gate
