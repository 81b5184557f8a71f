package main

import (
	"fmt"
	"net/mail"
	"os"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/cloudtasks/apiv2/cloudtaskspb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/protobuf/types/known/durationpb"

	"waybill.dev/emulator"
)

// setting is what one key=value of a flag does.
type setting func(value string) error

// applySettings reads key=value,key=value. A key that takes the rest, commas included, is written with an equals sign at its
// end, as in "filter=".
func applySettings(text string, known map[string]setting) error {
	for text != "" {
		key, rest, _ := strings.Cut(text, "=")
		if set, ok := known[key+"="]; ok {
			return set(rest)
		}
		var pair string
		pair, text, _ = strings.Cut(text, ",")
		key, value, valued := strings.Cut(pair, "=")
		set, ok := known[key]
		if !ok {
			return fmt.Errorf("there is no setting %q", key)
		}
		switch {
		case key == ordered && valued:
			return fmt.Errorf("%s takes no value", key)
		case key != ordered && value == "":
			return fmt.Errorf("%s needs a value, as in %s=...", key, key)
		}
		if err := set(value); err != nil {
			return fmt.Errorf("%s is %q: %w", key, value, err)
		}
	}
	return nil
}

// ordered is the one setting without a value.
const ordered = "ordered"

// queueFlag reads NAME[,rate=5,...].
func queueFlag(text string) (*cloudtaskspb.Queue, error) {
	name, settings, _ := strings.Cut(text, ",")
	rates, retry := &cloudtaskspb.RateLimits{}, &cloudtaskspb.RetryConfig{}
	err := applySettings(settings, map[string]setting{
		"rate":        number(&rates.MaxDispatchesPerSecond),
		"concurrency": whole(&rates.MaxConcurrentDispatches),
		"attempts":    whole(&retry.MaxAttempts),
		"min-backoff": duration(&retry.MinBackoff),
		"max-backoff": duration(&retry.MaxBackoff),
		"doublings":   whole(&retry.MaxDoublings),
	})
	return &cloudtaskspb.Queue{Name: name, RateLimits: rates, RetryConfig: retry}, err
}

// subscriptionFlag reads NAME,topic=T[,push=URL,...].
func subscriptionFlag(text string) (*pubsubpb.Subscription, error) {
	name, settings, _ := strings.Cut(text, ",")
	sub := &pubsubpb.Subscription{Name: name}
	push, oidc := &pubsubpb.PushConfig{}, &pubsubpb.PushConfig_OidcToken{}
	err := applySettings(settings, map[string]setting{
		"topic":    word(&sub.Topic),
		"push":     word(&push.PushEndpoint),
		"account":  word(&oidc.ServiceAccountEmail),
		"audience": word(&oidc.Audience),
		"ack-deadline": func(value string) error {
			d, err := time.ParseDuration(value)
			if err != nil || d%time.Second != 0 {
				return fmt.Errorf("want whole seconds, as in 20s")
			}
			sub.AckDeadlineSeconds = int32(d / time.Second)
			return nil
		},
		ordered: func(string) error {
			sub.EnableMessageOrdering = true
			return nil
		},
		"filter=": word(&sub.Filter),
	})
	switch {
	case err != nil:
		return nil, err
	case sub.GetTopic() == "":
		return nil, fmt.Errorf("say of which topic, as in %s,topic=T", name)
	case push.GetPushEndpoint() == "" && (oidc.GetServiceAccountEmail() != "" || oidc.GetAudience() != ""):
		return nil, fmt.Errorf("account and audience are for pushes: say where to, as in push=http://127.0.0.1:8080")
	case oidc.GetServiceAccountEmail() == "" && oidc.GetAudience() != "":
		return nil, fmt.Errorf("audience is of a token: say whose, as in account=push@shop.iam.gserviceaccount.com")
	}
	if push.GetPushEndpoint() != "" {
		sub.PushConfig = push
	}
	if oidc.GetServiceAccountEmail() != "" {
		push.AuthenticationMethod = &pubsubpb.PushConfig_OidcToken_{OidcToken: oidc}
	}
	return sub, nil
}

// gateFlag reads service=S,target=URL[,invoker=MEMBER,...].
func gateFlag(text string) (emulator.GateConfig, error) {
	var g emulator.GateConfig
	err := applySettings(text, map[string]setting{
		"service": word(&g.Service),
		"target":  word(&g.Target),
		"listen":  word(&g.Listen),
		"invoker": func(value string) error {
			if !strings.Contains(value, ":") && strings.Contains(value, "@") {
				value = "serviceAccount:" + value
			}
			g.Invokers = append(g.Invokers, value)
			return nil
		},
		"audience": func(value string) error {
			g.Audiences = append(g.Audiences, value)
			return nil
		},
		"signature": func(value string) error {
			signature, ok := map[string]emulator.Signature{
				"removed": emulator.SignatureRemoved, "removed-from-serverless": emulator.SignatureRemovedFromServerless, "kept": emulator.SignatureKept,
			}[value]
			if !ok {
				return fmt.Errorf("want removed, removed-from-serverless or kept")
			}
			g.Signature = signature
			return nil
		},
	})
	return g, err
}

// resourcesIn reads a file of resources. Its errors name the file.
func resourcesIn(path string) (emulator.Resources, error) {
	f, err := os.Open(path)
	if err != nil {
		return emulator.Resources{}, err
	}
	defer f.Close()
	resources, err := emulator.ReadResources(f)
	if err != nil {
		err = fmt.Errorf("%s", strings.ReplaceAll(err.Error(), "emulator: the resources", "emulator: "+path))
	}
	return resources, err
}

func word(field *string) setting {
	return func(value string) error {
		*field = value
		return nil
	}
}

func number(field *float64) setting {
	return func(value string) (err error) {
		if *field, err = strconv.ParseFloat(value, 64); err != nil {
			return fmt.Errorf("want a number, as in 0.5")
		}
		return nil
	}
}

func whole(field *int32) setting {
	return func(value string) error {
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil {
			return fmt.Errorf("want a whole number")
		}
		*field = int32(n)
		return nil
	}
}

func duration(field **durationpb.Duration) setting {
	return func(value string) error {
		d, err := time.ParseDuration(value)
		if err != nil {
			return fmt.Errorf("want a duration, as in 1.5s")
		}
		*field = durationpb.New(d)
		return nil
	}
}

// account is an email address, of a flag.
func account(value string) error {
	if a, err := mail.ParseAddress(value); err != nil || a.Address != value {
		return fmt.Errorf("want an account's email address")
	}
	return nil
}
