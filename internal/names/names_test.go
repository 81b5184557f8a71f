package names

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name string
		want string // a part of the error; empty: a good name
	}{
		{"a", ""},
		{"send-welcome", ""},
		{"v2-mail3", ""},
		{strings.Repeat("a", MaxName), ""},
		{"", "without a name"},
		{strings.Repeat("a", MaxName+1), "shorten it to 40"},
		{"a--b", "two hyphens"},
		{"goog-mail", "reserves"},
		{"dead", "choose another"}, // PREFIX--APP--dead would be the dead letters of app PREFIX, route APP
		{"Mail", "lower-case"},
		{"2fast", "a letter first"},
		{"-a", "a letter first"},
		{"a-", "no hyphen last"},
		{"a_b", "lower-case"},
		{"a/b", "lower-case"},
		{"é", "lower-case"},
	} {
		err := Check("task", tt.name, MaxName)
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("Check(%q): %v", tt.name, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("Check(%q) = %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}

func TestResourcesOfDifferentAppsNeverCollide(t *testing.T) {
	if a, b := Resource("", "shop-a", "b"), Resource("", "shop", "a-b"); a == b {
		t.Errorf("both are %q", a)
	}
	if a, b := Resource("shop", "a", "b"), Resource("", "shop", "a"); a == b {
		t.Errorf("both are %q", a)
	}
}

func TestTheLongestResourceIsAQueueID(t *testing.T) {
	longest := Dead(Resource(strings.Repeat("p", MaxPrefix), strings.Repeat("a", MaxApp), strings.Repeat("n", MaxName)))
	if len(longest) > 100 {
		t.Errorf("%d characters; a queue id has 100 at most", len(longest))
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{"a", "a--b", "goog", "A", "é", "a-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if Check("task", name, MaxName) != nil {
			return
		}
		for _, c := range name {
			if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-", c) {
				t.Fatalf("accepted %q", name)
			}
		}
		if strings.Contains(name, "--") {
			t.Fatalf("accepted %q: it would split into two parts", name)
		}
	})
}

func TestShards(t *testing.T) {
	longest := Resource(strings.Repeat("p", MaxPrefix), strings.Repeat("a", MaxApp), strings.Repeat("n", MaxName))
	for n, want := range map[int]string{1: longest, 2: longest + "--2", MaxShards: longest + "--100"} {
		if got := Shard(longest, n); got != want || len(got) > 100 {
			t.Errorf("the queue %d is %q of %d characters", n, got, len(got))
		}
	}
	if Check("task", "2", MaxName) == nil {
		t.Error("a route may be called 2, and share a queue with another's second")
	}
}
