// Package wire has the names that dispatch and the packages below it must agree on: attributes of messages, and labels
// of resources.
package wire

// Attributes of a message: on Pub/Sub under these names, on a task as headers, which do not mind the case.
const (
	ID     = "ce-id"
	Source = "ce-source"
	Time   = "ce-time"

	// Replay says how often a dead letter was sent again. It stays with the message, so that its next death knows.
	Replay = "waybill-replay"
	// ReplayTo names the subscription that a replayed event is for. The receivers of the others acknowledge it unread.
	ReplayTo = "waybill-replay-to"
)

// Dead is how the attributes begin that a dead letter has beside those of its message.
const Dead = "waybill-dead-"

// Attributes of a dead letter.
const (
	DeadRoute     = Dead + "route"     // the name that it came by: that of a task or a subscription, or an alias
	DeadCause     = Dead + "cause"     // the last error's text
	DeadAttempts  = Dead + "attempts"  // how often it was tried; 0 where the transport does not count
	DeadTime      = Dead + "time"      // when it was given up
	DeadReceived  = Dead + "received"  // when its last attempt arrived
	DeadPublished = Dead + "published" // when Pub/Sub accepted it; not of a task
	DeadKey       = Dead + "ordering-key"
	DeadCaller    = Dead + "caller" // the account that sent the task, verified; not of an event
	DeadURL       = Dead + "url"    // the endpoint that it came to; not of an event
)

// Attributes that Pub/Sub's own dead-lettering adds, the backstop behind Waybill's.
// https://cloud.google.com/pubsub/docs/dead-letter-topics
const (
	Platform             = "CloudPubSubDeadLetterSource"
	PlatformSubscription = Platform + "Subscription"
	PlatformCount        = Platform + "DeliveryCount"
	PlatformPublished    = Platform + "TopicPublishTime" // RFC 3339
)

// Labels of the subscription that keeps a route's dead letters: what a replay must know of the contracts. Only who deploys
// can set them, unlike attributes.
const (
	LabelApp      = "waybill-app"
	LabelKind     = "waybill-kind"        // task or subscription
	LabelTo       = "waybill-to"          // the receiving service
	LabelEvent    = "waybill-event"       // of a subscription: its event
	LabelDeadline = "waybill-deadline-ms" // of a task: its dispatch deadline
	LabelFrom     = "waybill-from-"       // and a service's name: that service may send the task
	LabelAlias    = "waybill-alias-"      // and a name that the route had before
)
