package gate

import (
	"fmt"
	"html"
	"io"
	"net/http"
)

// page is how Google's front ends say no.
const page = `
<html><head>
<meta http-equiv="content-type" content="text/html;charset=utf-8">
<title>%d %s</title>
</head>
<body text=#000000 bgcolor=#ffffff>
<h1>Error: %s</h1>
<h2>%s</h2>
<h2></h2>
</body></html>
`

// writeRefusal answers 401 or 403. It does not tell the caller why.
func writeRefusal(w http.ResponseWriter, r *http.Request, status int) {
	path := "<code>" + html.EscapeString(r.URL.Path) + "</code>"
	sentence := "Your client does not have permission to get URL " + path + " from this server."
	if status == http.StatusUnauthorized {
		sentence = "Your client does not have permission to the requested URL " + path + "."
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token" error_description="The access token could not be verified"`)
	}
	w.Header().Set("Content-Type", "text/html; charset=UTF-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, page, status, http.StatusText(status), http.StatusText(status), sentence) // nobody is left to tell
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // nobody is left to tell
}
