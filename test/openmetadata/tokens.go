package openmetadata

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/pipelinectl/pipelinectl/test/openmetadata/admin"
)

const (
	keyID     = "pipelinectl-stand-in"
	issuer    = "open-metadata.org"
	keyBits   = 2048
	expiredBy = time.Hour
)

// Names of the users that the stand-in knows.
const (
	userAdmin  = "admin"
	userBot    = "ingestion-bot"
	userViewer = "viewer"
)

// operation is a right as the server names it in its 403.
type operation string

const (
	opView       operation = "ViewAll"
	opCreate     operation = "Create"
	opEdit       operation = "EditAll"
	opDelete     operation = "Delete"
	opEditStatus operation = "EditIngestionPipelineStatus"
)

// errUnusableToken marks tokens that the real server answers with 500 instead of 401.
var errUnusableToken = errors.New("token's key or algorithm cannot be used")

// tokens mints and checks JWTs of one signing key.
type tokens struct {
	key *rsa.PrivateKey
	now func() time.Time
}

// NewKey makes a signing key for Options.Key.
func NewKey() (*rsa.PrivateKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, fmt.Errorf("cannot generate the token's signing key: %w", err)
	}
	return key, nil
}

// mint makes a token; valid ones never expire, as those of bots do not.
func (t *tokens) mint(kind admin.TokenKind) (string, error) {
	subject := userBot
	switch kind {
	case admin.TokenAdmin:
		subject = userAdmin
	case admin.TokenNoRight:
		subject = userViewer
	case admin.TokenUnknownUser:
		subject = "nobody-knows-" + uuid.NewString()[:8]
	case admin.TokenBot, admin.TokenExpired, admin.TokenBadSignature, admin.TokenUnknownKey, admin.TokenNoAlgorithm:
	default:
		return "", fmt.Errorf("unknown kind of token %q; known are %v", kind, admin.TokenKinds())
	}
	claims := jwt.MapClaims{
		"iss": issuer, "sub": subject, "email": subject + "@open-metadata.org",
		"isBot": subject == userBot, "tokenType": "BOT", "iat": t.now().Add(-2 * expiredBy).Unix(),
	}
	if kind == admin.TokenExpired {
		claims["exp"] = t.now().Add(-expiredBy).Unix()
	}
	return t.sign(kind, claims)
}

func (t *tokens) sign(kind admin.TokenKind, claims jwt.MapClaims) (string, error) {
	var (
		method jwt.SigningMethod = jwt.SigningMethodRS256
		key    any               = t.key
	)
	switch kind {
	case admin.TokenNoAlgorithm:
		method, key = jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType
	case admin.TokenBadSignature:
		other, err := NewKey()
		if err != nil {
			return "", err
		}
		key = other
	case admin.TokenAdmin, admin.TokenBot, admin.TokenExpired, admin.TokenNoRight, admin.TokenUnknownUser, admin.TokenUnknownKey:
	}
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = keyID
	if kind == admin.TokenUnknownKey {
		token.Header["kid"] = "unknown"
	}
	text, err := token.SignedString(key)
	if err != nil {
		return "", fmt.Errorf("cannot sign a token of kind %s: %w", kind, err)
	}
	return text, nil
}

// authenticate returns the user of the request's token, or the error that the server answers.
func (t *tokens) authenticate(header string) (string, error) {
	// The prefix is compared with its case, and "Bearer" alone counts as no token.
	text, found := strings.CutPrefix(header, "Bearer ")
	if !found || text == "" {
		return "", &apiError{status: http.StatusUnauthorized, message: "Not Authorized! Token not present"}
	}
	claims := jwt.MapClaims{}
	_, err := jwt.NewParser(jwt.WithTimeFunc(t.now)).ParseWithClaims(text, claims, t.keyFor)
	subject, _ := claims["sub"].(string)
	switch {
	case err == nil:
		return subject, knownUser(subject)
	case errors.Is(err, errUnusableToken):
		return subject, &apiError{status: http.StatusInternalServerError, message: "the token's key id or algorithm is unknown"}
	case errors.Is(err, jwt.ErrTokenExpired):
		return subject, &apiError{status: http.StatusUnauthorized, message: "Expired token!"}
	default:
		return "", &apiError{status: http.StatusUnauthorized, message: "Not Authorized! Invalid token."}
	}
}

func (t *tokens) keyFor(token *jwt.Token) (any, error) {
	if token.Method != jwt.SigningMethodRS256 || token.Header["kid"] != keyID {
		return nil, errUnusableToken
	}
	return &t.key.PublicKey, nil
}

func knownUser(name string) error {
	switch name {
	case userAdmin, userBot, userViewer:
		return nil
	}
	return &apiError{status: http.StatusNotFound, message: fmt.Sprintf("user instance for %s not found", name)}
}

// authorize returns the server's 403 when the user lacks the right.
func authorize(user string, op operation) error {
	if user != userViewer || op == opView {
		return nil
	}
	return &apiError{
		status:  http.StatusForbidden,
		message: fmt.Sprintf("Principal: CatalogPrincipal{name='%s'} operations [%s] not allowed", user, op),
	}
}
