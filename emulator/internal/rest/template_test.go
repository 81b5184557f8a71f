package rest

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseTemplate(t *testing.T) {
	for _, tt := range []struct {
		text string
		want template
	}{
		{"/v1/topics", template{segments: []string{"v1", "topics"}}},
		{"/v1/{name}", template{
			segments:  []string{"v1", "*"},
			variables: []variable{{field: "name", from: 1, to: 2, single: true}},
		}},
		{"/v1/{topic.name=projects/*/topics/*}:publish", template{
			segments:  []string{"v1", "projects", "*", "topics", "*"},
			variables: []variable{{field: "topic.name", from: 1, to: 5}},
			verb:      "publish",
		}},
		{"/v1/{resource=**}:setIamPolicy", template{
			segments:  []string{"v1", "**"},
			variables: []variable{{field: "resource", from: 1, to: toEnd}},
			verb:      "setIamPolicy",
		}},
		{"/v2/{queue=projects/*}/tasks/{task_id}:buffer", template{
			segments: []string{"v2", "projects", "*", "tasks", "*"},
			variables: []variable{
				{field: "queue", from: 1, to: 3},
				{field: "task_id", from: 4, to: 5, single: true},
			},
			verb: "buffer",
		}},
		{"/*/**", template{segments: []string{"*", "**"}}},
	} {
		got, err := parseTemplate(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(template{}, variable{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.text, diff)
		}
	}
}

func TestParseTemplateRefuses(t *testing.T) {
	for _, text := range []string{
		"", "v1", "/", "/v1/", "//", "/v1:", "/v1:a:b", "/{", "/{name", "/{name=", "/{name=}", "/{name=a/{b}}",
		"/{name=**}/topics", "/**/a", "/v1/a}b", "/***",
	} {
		if got, err := parseTemplate(text); err == nil {
			t.Errorf("%q was read as %+v", text, got)
		}
	}
}

func FuzzParseTemplate(f *testing.F) {
	f.Add("/v1/{topic.name=projects/*/topics/*}:publish")
	f.Add("/{a=**}")
	f.Fuzz(func(t *testing.T, text string) {
		parsed, err := parseTemplate(text)
		if err != nil {
			return
		}
		for _, v := range parsed.variables {
			if v.from >= len(parsed.segments) || v.to > len(parsed.segments) || (v.to != toEnd && v.to <= v.from) {
				t.Errorf("%q: variable %+v is outside of %q", text, v, parsed.segments)
			}
		}
	})
}

func TestRouter(t *testing.T) {
	var r router
	for _, text := range []string{
		"/v1/{name=projects/*/topics/*}",
		"/v1/{name=projects/*/topics/*}:publish",
		"/v1/projects/special/topics/{topic}",
		"/v1/{name=files/**}",
		"/v1/{name=files/**}:purge",
	} {
		parsed, err := parseTemplate(text)
		if err != nil {
			t.Fatal(err)
		}
		rt := &route{fullMethod: text}
		for _, v := range parsed.variables {
			rt.variables = append(rt.variables, boundVariable{variable: v})
		}
		if err := r.add(parsed, "POST", rt); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ path, route, value string }{
		{"/v1/projects/p/topics/t", "/v1/{name=projects/*/topics/*}", "projects/p/topics/t"},
		{"/v1/projects/p/topics/t:publish", "/v1/{name=projects/*/topics/*}:publish", "projects/p/topics/t"},
		{"/v1/projects/p/topics/t:other", "/v1/{name=projects/*/topics/*}", "projects/p/topics/t:other"},
		{"/v1/projects/example.com:p/topics/t", "/v1/{name=projects/*/topics/*}", "projects/example.com:p/topics/t"},
		{"/v1/projects/p/topics/a%25b%2Fc%20d", "/v1/{name=projects/*/topics/*}", "projects/p/topics/a%b%2Fc d"},
		{"/v1/projects/special/topics/a%2fb", "/v1/projects/special/topics/{topic}", "a/b"},
		{"/v1/projects/special/topics/t:publish", "/v1/{name=projects/*/topics/*}:publish", "projects/special/topics/t"},
		{"/v1/files/a/b/c", "/v1/{name=files/**}", "files/a/b/c"},
		{"/v1/files/a:purge", "/v1/{name=files/**}:purge", "files/a"},
		{"/v1/projects/p/topics/", "", ""},
		{"/v1/projects/p/topics", "", ""},
		{"/v1/projects//topics/t", "", ""},
		{"/v1/projects/p/topics/t/", "", ""},
		{"/v1/projects/p/topics/:publish", "", ""},
		{"//v1/projects/p/topics/t", "", ""},
		{"/", "", ""},
		{"", "", ""},
		{"*", "", ""},
	} {
		m := r.find("POST", tt.path)
		if m.route == nil {
			if tt.route != "" {
				t.Errorf("%s: no route", tt.path)
			}
			continue
		}
		value, err := m.value(m.route.variables[0].variable)
		if m.route.fullMethod != tt.route || value != tt.value || err != nil {
			t.Errorf("%s: route %q, value %q, %v; want %q, %q", tt.path, m.route.fullMethod, value, err, tt.route, tt.value)
		}
	}
	if m := r.find("GET", "/v1/projects/p/topics/t"); strings.Join(m.allowed, " ") != "POST" {
		t.Errorf("allowed = %q", m.allowed)
	}
}
