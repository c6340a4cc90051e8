package identity

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/google/uuid"
)

// Origin tells in which namespace of which cluster a run was started; empty where that is not known.
type Origin string

const (
	// originBytes is how much of a run's id says where it was started. The beginning is left to chance: names of Jobs have it.
	originBytes = 6
	// originVersion is the version of a UUID whose bits mean what its maker says, by RFC 9562.
	originVersion = 8
)

// OriginOf makes the origin of the UID of an object that every namespace has one of.
func OriginOf(uid string) Origin {
	sum := sha256.Sum256([]byte(uid))
	return Origin(hex.EncodeToString(sum[:originBytes]))
}

// NewRunID makes the id of a run: a UUID whose last 12 digits are the origin, so that whoever finds a record of the run knows
// where it belongs, whatever else was written over. Without an origin it is all chance.
func NewRunID(origin Origin) string {
	id := uuid.New()
	bytes, err := hex.DecodeString(string(origin))
	if err != nil || len(bytes) != originBytes {
		return id.String()
	}
	copy(id[len(id)-originBytes:], bytes)
	const version, lowHalf = 6, 0x0f // RFC 9562, section 4: the byte that has the version, and its other half.
	id[version] = id[version]&lowHalf | originVersion<<4
	return id.String()
}

// OriginOfRun reads a run's id; empty for one that does not tell, such as a scheduled run's, which is the UID of its Job.
func OriginOfRun(runID string) Origin {
	id, err := uuid.Parse(runID)
	if err != nil || id.Version() != originVersion || id.Variant() != uuid.RFC4122 {
		return ""
	}
	return Origin(hex.EncodeToString(id[len(id)-originBytes:]))
}
