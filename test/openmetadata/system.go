package openmetadata

import (
	"encoding/base64"
	"math/big"
	"net/http"
)

// addSystemRoutes adds what the server tells about itself.
func (s *Server) addSystemRoutes() {
	s.router.add(
		route{method: http.MethodGet, pattern: "system/version", open: true, handle: s.getVersion},
		route{method: http.MethodGet, pattern: "system/config/jwks", open: true, handle: s.getKeys},
	)
}

func (s *Server) getVersion(*call) (*reply, error) {
	return jsonReply(http.StatusOK, map[string]any{
		fieldVersion: s.version, "revision": "stand-in", fieldTimestamp: s.now().UnixMilli(),
	})
}

// getKeys answers the public key that tokens are checked with.
func (s *Server) getKeys(*call) (*reply, error) {
	public := s.tokens.key.PublicKey
	return jsonReply(http.StatusOK, map[string]any{"keys": []any{map[string]any{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": keyID,
		"n": base64.RawURLEncoding.EncodeToString(public.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(public.E)).Bytes()),
	}}})
}
