package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"waybill.dev/auth"
	"waybill.dev/emulator"
)

func TestTokenExplain(t *testing.T) {
	const login, mailer = "login@waybill-local.iam.gserviceaccount.com", "http://127.0.0.1:8104"
	e, err := emulator.Start(t.Context(), emulator.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	t.Setenv("CLOUD_TASKS_EMULATOR_HOST", e.Addr())
	key, err := e.KeyFile(login)
	if err != nil {
		t.Fatal(err)
	}
	minter, err := auth.NewMinter(auth.MinterConfig{CredentialsJSON: key})
	if err != nil {
		t.Fatal(err)
	}
	defer minter.Close()
	token, err := minter.Token(t.Context(), mailer)
	if err != nil {
		t.Fatal(err)
	}
	tampered := token[:len(token)-20] + "AAAA" + token[len(token)-16:]

	for _, tt := range []struct {
		name  string
		stdin string
		args  []string
		code  int
		texts []string
	}{
		{"accepted", token + "\n", []string{"explain", "--audience", mailer, "--caller", login}, exitOK, []string{"accepted", login}},
		{"another audience", token, []string{"explain", "--audience", "https://search.test", "--caller", login}, exitFailed, []string{"refused", "https://search.test", mailer}},
		{"another caller", token, []string{"explain", "--audience", mailer, "--caller", "audit@p.iam.gserviceaccount.com"}, exitFailed, []string{"403", login}},
		{"a bad signature", tampered, []string{"explain", "--audience", mailer, "--caller", login}, exitFailed, []string{"signature", "FAILED", "Nobody has checked the signature"}},
		{"nothing expected", token, []string{"explain"}, exitUsage, []string{"Audiences", "no callers are declared"}},
		{"no token", " \n", []string{"explain", "--audience", mailer, "--caller", login}, exitUsage, []string{"no token on standard input"}},
		{"no verb", token, nil, exitUsage, []string{"waybill token explain"}},
		{"another verb", token, []string{"forge"}, exitUsage, []string{"waybill token explain"}},
		{"a token on the command line", "", []string{"explain", "--audience", mailer, token}, exitUsage, []string{"an argument too many"}},
		{"help", "", []string{"--help"}, exitOK, []string{"Usage: waybill token explain", "--keys-url"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if code := tokenCommand(t.Context(), tt.args, strings.NewReader(tt.stdin), &out, &out); code != tt.code {
				t.Errorf("exit status %d, want %d", code, tt.code)
			}
			for _, text := range tt.texts {
				if !strings.Contains(out.String(), text) {
					t.Errorf("the output lacks %q", text)
				}
			}
			if signature := token[strings.LastIndexByte(token, '.')+1:]; strings.Contains(out.String(), signature) {
				t.Error("the output shows the signature")
			}
			if t.Failed() {
				t.Logf("\n%s", &out)
			}
		})
	}

	var out bytes.Buffer
	if code := tokenCommand(t.Context(), []string{"explain", "--json", "--audience", mailer, "--caller", login}, strings.NewReader(token), &out, &out); code != exitOK {
		t.Errorf("exit status %d", code)
	}
	var explanation auth.Explanation
	if err := json.Unmarshal(out.Bytes(), &explanation); err != nil || !explanation.Accepted || len(explanation.Checks) == 0 {
		t.Errorf("%+v, %v from\n%s", explanation, err, &out)
	}
}
