package workflow

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
)

// belongsTo is the key, in an overlay, of the fingerprint of the configuration that it belongs to. It is no JSON pointer.
const belongsTo = "configuration"

// fingerprintLength is enough to tell apart the configurations of one pipeline, in hexadecimal digits.
const fingerprintLength = 16

// ErrOtherDeploy is a configuration whose secret values are not there, but those of another one.
var ErrOtherDeploy = errors.New("the configuration and the secret values are of different deploys; deploy the pipeline again")

// Fingerprint tells texts apart that are not secret.
func Fingerprint(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])[:fingerprintLength]
}

// Of is the overlay as that of the configuration with this fingerprint.
func (o Overlay) Of(fingerprint string) Overlay {
	out := maps.Clone(o)
	if out == nil {
		out = Overlay{}
	}
	out[belongsTo] = fingerprint
	return out
}

// isOf says whether an overlay belongs to the configuration with this fingerprint; both may be without one.
func (o Overlay) isOf(fingerprint string) bool {
	of, _ := o[belongsTo].(string)
	return of == fingerprint
}

// OverlayOf finds the overlay of the configuration with this fingerprint among those that are given as texts, of which empty
// ones are none. Where there are only others it gives the first of them, with ErrOtherDeploy: the way to OpenMetadata may be
// the same. A single one that says not to which configuration it belongs may belong to any.
func OverlayOf(fingerprint string, texts ...string) (Overlay, error) {
	var found []Overlay
	for _, text := range texts {
		if text == "" {
			continue
		}
		overlay, err := ParseOverlay(text)
		if err != nil {
			return nil, err
		}
		_, says := overlay[belongsTo]
		is := overlay.isOf(fingerprint)
		delete(overlay, belongsTo)
		if is || len(texts) == 1 && !says {
			return overlay, nil
		}
		found = append(found, overlay)
	}
	if len(found) == 0 {
		return nil, nil //nolint:nilnil // A configuration without secrets has none.
	}
	return found[0], ErrOtherDeploy
}
