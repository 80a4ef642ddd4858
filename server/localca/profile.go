package localca

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"text/template"
)

var profile = template.Must(template.New("profile").Funcs(template.FuncMap{"xml": escape}).Parse(
	`<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
	<key>PayloadType</key><string>Configuration</string>
	<key>PayloadVersion</key><integer>1</integer>
	<key>PayloadIdentifier</key><string>parley.authority.{{.Profile}}</string>
	<key>PayloadUUID</key><string>{{.Profile}}</string>
	<key>PayloadDisplayName</key><string>{{xml .Name}}</string>
	<key>PayloadDescription</key><string>Lets this device trust a Parley server of its local network. It is limited to private addresses, .local and that machine's own names, and no site of the internet is affected. Remove this profile to take the trust back.</string>
	<key>PayloadContent</key>
	<array>
		<dict>
			<key>PayloadType</key><string>com.apple.security.root</string>
			<key>PayloadVersion</key><integer>1</integer>
			<key>PayloadIdentifier</key><string>parley.authority.{{.Profile}}.certificate</string>
			<key>PayloadUUID</key><string>{{.Payload}}</string>
			<key>PayloadDisplayName</key><string>{{xml .Name}}</string>
			<key>PayloadCertificateFileName</key><string>parley-authority.crt</string>
			<key>PayloadContent</key>
			<data>{{.Data}}</data>
		</dict>
	</array>
</dict>
</plist>
`))

// Profile is the authority's certificate as a configuration profile (.mobileconfig) for iOS, iPadOS and macOS. The same
// authority gives the same profile, so installing it again replaces it.
func (a *Authority) Profile() []byte {
	var b strings.Builder
	err := profile.Execute(&b, map[string]string{
		"Name":    a.Name(),
		"Profile": a.uuid("profile"),
		"Payload": a.uuid("payload"),
		"Data":    base64.StdEncoding.EncodeToString(a.cert.Raw),
	})
	if err != nil {
		panic(err) // strings into a builder
	}
	return []byte(b.String())
}

// uuid derives an identifier from the certificate (RFC 9562, section 5.8).
func (a *Authority) uuid(purpose string) string {
	h := sha256.New()
	h.Write([]byte(purpose))
	h.Write(a.cert.Raw)
	u := h.Sum(nil)[:16]
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%X-%X-%X-%X-%X", u[0:4], u[4:6], u[6:8], u[8:10], u[10:])
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace
