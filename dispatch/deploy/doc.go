// Package deploy creates what an app's contracts need in a project: queues, topics, push subscriptions, and the
// dead-letter topics with a subscription that keeps what lands there.
//
// It is the only place where Waybill creates anything, and it does so only when it is called: once per deployment,
// by whoever deploys, not by the services at start.
//
//	plan, err := deploy.NewPlan(contracts.App, env)
//	changes, err := deploy.Create(ctx, plan, deploy.Options{})
//
// # What it promises
//
// Create is idempotent: what exists already is left as it is and reported as such. It deletes and changes nothing, but
// it says if a push subscription that exists would send its messages astray, and its Change has a Note with the command that mends it
// if a queue that exists dispatches otherwise than the contracts' Rate.
//
// A task with a Rate beyond one queue's gets several, each with its share. When the number is lowered, the queues that are left
// over stay and empty themselves. The queue or subscription of an Alias is not created, and is reported while it is there.
// Against anything but emulators it does nothing unless Options.Cloud says so.
//
// # Permissions
//
// On Google Cloud the caller needs roles/cloudtasks.queueAdmin and roles/pubsub.editor in the project, and
// roles/iam.serviceAccountUser on the push account, which it hands to Pub/Sub. Accounts and their roles are not created
// here; the README lists them.
package deploy
