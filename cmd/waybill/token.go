package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"waybill.dev/auth"
)

const tokenUsage = `Usage: waybill token explain --audience URL --caller ACCOUNT [FLAG...] < FILE

Reads an ID token from standard input and checks it as a receiver with this
audience and these callers does: claim by claim, what was expected, what came, and
what to change. It shows neither the token nor its signature. The exit status is 0
if the token is accepted, 1 if it is refused.
`

const (
	maxTokenInput  = 64 << 10 // bytes; what is longer is no token, and is refused as one
	explainTimeout = 15 * time.Second
)

func runToken(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return tokenCommand(ctx, args, os.Stdin, stdout, stderr)
}

func tokenCommand(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	verb := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		verb, args = args[0], args[1:]
	}
	flags := newFlags("token")
	var (
		config auth.VerifierConfig
		keys   auth.KeySetConfig
		asJSON bool
	)
	flags.Func("audience", "`URL` that the receiver expects, exactly; may be repeated", appendTo(&config.Audiences))
	flags.Func("caller", "`ACCOUNT` that the receiver lets in, by email; may be repeated", appendTo(&config.Callers))
	flags.StringVar(&keys.URL, "keys-url", defaultKeysURL(), "`URL` of the issuer's keys")
	flags.BoolVar(&config.PlatformAsserts, "platform-asserts", false, "take the platform's word for a removed signature, as on a private Cloud Run service")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	if code, ok := parse(flags, args, tokenUsage, stdout, stderr); !ok {
		return code
	}
	if verb != "explain" {
		fmt.Fprintf(stderr, "waybill token: say what to do with it: waybill token explain; run: waybill help token\n")
		return exitUsage
	}
	code, err := explain(ctx, config, keys, asJSON, stdin, stdout)
	if err != nil {
		fmt.Fprintf(stderr, "waybill token explain: %v\n", err)
	}
	return code
}

func explain(ctx context.Context, config auth.VerifierConfig, keysConfig auth.KeySetConfig, asJSON bool, stdin io.Reader, stdout io.Writer) (code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, explainTimeout)
	defer cancel()
	keys, err := auth.NewKeySet(keysConfig)
	if err != nil {
		return exitUsage, err
	}
	defer keys.Close()
	config.Keys = keys
	verifier, err := auth.NewVerifier(config)
	if err != nil {
		return exitUsage, err
	}
	token, err := io.ReadAll(io.LimitReader(stdin, maxTokenInput))
	if err != nil {
		return exitFailed, fmt.Errorf("reading the token: %w", err)
	}
	if strings.TrimSpace(string(token)) == "" {
		return exitUsage, errors.New("there is no token on standard input; pipe one in, or give a file with <")
	}
	explanation := auth.Explain(ctx, string(token), verifier)
	if asJSON {
		e := json.NewEncoder(stdout)
		e.SetIndent("", "  ")
		err = e.Encode(explanation)
	} else {
		_, err = fmt.Fprint(stdout, explanation)
	}
	if err == nil && explanation.Accepted {
		return exitOK, nil
	}
	return exitFailed, err
}

// defaultKeysURL is the emulator's if a variable names one, as for the services that it runs beside; else Google's.
func defaultKeysURL() string {
	if host := os.Getenv("CLOUD_TASKS_EMULATOR_HOST"); host != "" {
		return "http://" + host + "/oauth2/v3/certs"
	}
	return auth.GoogleKeysURL
}

// appendTo makes a flag that may be repeated.
func appendTo(list *[]string) func(string) error {
	return func(value string) error {
		*list = append(*list, value)
		return nil
	}
}
