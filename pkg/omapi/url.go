package omapi

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"
)

// CleanURL is an address of OpenMetadata as all use it: commands, health and pods. Spaces and slashes around it are taken away,
// and so is the version of the API, which each call names. An address without a path gets /api; another path is left as it
// is, as a gateway may have the API there.
func CleanURL(address string) (string, error) {
	address = strings.TrimSpace(address)
	base, err := url.Parse(address)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Hostname() == "" {
		return "", fmt.Errorf("OpenMetadata's address %q is not a URL such as http://openmetadata:8585/api", withoutPassword(address))
	}
	if base.RawQuery != "" || base.Fragment != "" || base.ForceQuery {
		return "", fmt.Errorf("OpenMetadata's address %q has a query or a fragment; give one such as http://openmetadata:8585/api", withoutPassword(address[:strings.IndexAny(address, "?#")]))
	}
	address = strings.TrimRight(address, "/")
	if short, ok := strings.CutSuffix(address, apiPath+"/v1"); ok {
		address = short + apiPath
	}
	if strings.Trim(base.Path, "/") == "" {
		address += apiPath
	}
	return address, nil
}

// apiPath is where OpenMetadata has its API.
const apiPath = "/api"

// CleanToken is a token as all use it: one that is kept in a file ends with a newline.
func CleanToken(token string) (string, error) {
	token = strings.TrimSpace(token)
	if strings.ContainsFunc(token, unicode.IsControl) {
		return "", errors.New("the token for OpenMetadata has a line break or another control character in it; give it on one line")
	}
	return token, nil
}
